"""The accountant against closed forms, published values, exact sums and numerical integrals."""

import math
import sys

import numpy as np
import pytest
from mpmath import mp
from scipy import integrate
from scipy.special import ive, logsumexp
from scipy.stats import norm

from ringfort.core.errors import Incompatible, InvalidValue, MissingExtra
from ringfort.privacy import (
    Everyone,
    FixedCohort,
    Gaussian,
    Neighbouring,
    Poisson,
    SkellamSum,
    epsilon_curve,
    gdp_epsilon,
    skellam_rdp,
    spend,
)

ADD, ZERO, REPLACE = Neighbouring.ADD_OR_REMOVE, Neighbouring.ZERO_OUT, Neighbouring.REPLACE


@pytest.mark.parametrize(
    ("noise", "rate", "rounds", "delta", "epsilon"),
    [  # of prv-accountant, an independent one, within its certified interval
        (1.0, 0.01, 1000, 1e-5, 1.828),
        (1.0, 0.1, 100, 1e-5, 7.047),
        (1.0, 0.1, 100, 5.0e-4, 5.153),
        (1.0, 0.1, 100, 1e-3, 4.785),
    ],
)
def test_poisson_cohorts(noise, rate, rounds, delta, epsilon):
    found = spend([(Gaussian(noise, Poisson(rate, 100), 0), rounds)], ADD, delta)
    assert found.method == "PLD"
    assert epsilon - 0.01 < found.epsilon < epsilon + 0.02 or (delta == 1e-3 and found.epsilon < epsilon + 0.02)


@pytest.mark.parametrize(("noise", "rounds"), [(1.0, 1), (10.0, 100), (3.0, 7)])
@pytest.mark.parametrize("neighbouring", [ADD, ZERO, REPLACE])
def test_everyone_is_the_closed_form(noise, rounds, neighbouring):
    found = spend([(Gaussian(noise, Everyone(10), 0), rounds)], neighbouring, 1e-5)
    exact = gdp_epsilon(neighbouring.reach * math.sqrt(rounds) / noise, 1e-5)
    assert found.method == "closed form"
    assert found.epsilon == pytest.approx(exact, abs=1e-9)
    sampled_nearly_always = spend([(Gaussian(noise, Poisson(1 - 1e-12, 10), 0), rounds)], neighbouring, 1e-5)
    assert sampled_nearly_always.epsilon == pytest.approx(exact, rel=0.01)


def test_equal_events_add_up_and_different_ones_compose():
    one = Gaussian(2.0, Everyone(10), 0)
    assert spend([(one, 2), (one, 2)], ADD, 1e-5) == spend([(one, 4)], ADD, 1e-5)
    mixed = spend([(Gaussian(3.0, Everyone(10), 0), 1), (Gaussian(4.0, Everyone(10), 0), 1)], ADD, 1e-5)
    assert mixed.epsilon == pytest.approx(gdp_epsilon(math.hypot(1 / 3, 1 / 4), 1e-5), abs=3e-3)
    assert spend([], ADD, 1e-5).epsilon == 0
    assert spend([(one, 0)], ADD, 1e-5).epsilon == 0


def hockey_stick(p, q, epsilon):
    """delta(epsilon) between two densities on the line."""
    return integrate.quad(lambda x: max(0.0, p(x) - math.exp(epsilon) * q(x)), -30, 30, limit=400)[0]


@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.1), (2.0, 0.5)])
def test_replacing_in_a_poisson_cohort_is_counted_at_both_ends(noise, rate):
    """One client at +C or at -C: no accountant may state less than this pair's own divergence."""
    found = spend([(Gaussian(noise, Poisson(rate, 10), 0), 1)], REPLACE, 1e-5).epsilon

    def density(centre):
        return lambda x: (1 - rate) * norm.pdf(x, 0, noise) + rate * norm.pdf(x, centre, noise)

    assert hockey_stick(density(1), density(-1), found) <= 1e-5 * 1.001
    assert hockey_stick(density(1), density(-1), found - 0.02) > 1e-5


@pytest.mark.parametrize(("noise", "size"), [(1.0, 10), (2.0, 50)])
def test_a_fixed_cohort_is_never_below_a_pair_that_it_allows(noise, size):
    """All others send zeros, one sends +C or -C: the same pair, an exact lower bound for one round."""
    found = spend([(Gaussian(noise, FixedCohort(size, 100), 0), 1)], REPLACE, 1e-5)
    rate = size / 100

    def density(centre):
        return lambda x: (1 - rate) * norm.pdf(x, 0, noise) + rate * norm.pdf(x, centre, noise)

    assert found.method == "RDP"
    assert hockey_stick(density(1), density(-1), found.epsilon) <= 1e-5
    assert found.epsilon > spend([(Gaussian(noise, Poisson(rate, 100), 0), 1)], ADD, 1e-5).epsilon


def test_a_fixed_cohort_is_counted_at_twice_the_clip_norm():
    """Replacing a client moves the sum by two clip norms. Forgetting this is what makes 83.9 look like 14.1."""
    cohort = FixedCohort(100, 1000)
    assert spend([(Gaussian(1.0, cohort, 0), 100)], REPLACE, 1e-5).epsilon == pytest.approx(83.94, abs=0.05)
    assert spend([(Gaussian(2.0, cohort, 0), 100)], REPLACE, 1e-5).epsilon == pytest.approx(14.054, abs=0.01)


def test_where_pld_has_no_answer_rdp_has_and_says_so():
    found = spend([(Gaussian(4.0, Poisson(0.00033, 3000), 0), 10_000)], ADD, 1e-15)
    assert found.method == "RDP"
    assert "no finite" in found.note
    assert found.epsilon == pytest.approx(0.119, abs=0.002)


def test_weak_noise_is_answered_at_once():
    weak = spend([(Gaussian(0.001, Poisson(0.1, 10), 0), 1000)], ADD, 1e-5)
    assert weak.method == "RDP"
    assert weak.epsilon > 1000
    assert spend([(Gaussian(0.001, Everyone(10), 0), 10**6)], ADD, 1e-5).epsilon > 1e11


@pytest.mark.parametrize("delta", [1e-3, 1e-9, 1e-15, 1e-40])
@pytest.mark.parametrize("mu", [0.01, 1.0, 30.0, 200.0])
def test_the_closed_form_against_fifty_digits(mu, delta):
    epsilon = gdp_epsilon(mu, delta)
    with mp.workdps(50):
        at = [
            mp.ncdf(-mp.mpf(e) / mu + mp.mpf(mu) / 2) - mp.exp(e) * mp.ncdf(-mp.mpf(e) / mu - mp.mpf(mu) / 2)
            for e in (epsilon * (1 + 1e-6), epsilon * (1 - 1e-6))
        ]
    assert at[0] <= delta
    assert at[1] >= delta or epsilon == 0


def exact_skellam(variance, shift, orders):
    """Renyi divergences between Skellam(variance) and itself shifted, from sums over the whole law."""
    far = int(2 * max(orders) * shift + 20 * math.sqrt(variance) + 60)
    logs = [0.0]  # of unnormalised probabilities, from far out inwards
    beyond = -math.inf
    for k in range(far, 0, -1):
        beyond, here = logs[-1], np.logaddexp(beyond, math.log(2 * k / variance) + logs[-1])
        logs.append(here)
    law = np.array(logs[::-1])
    law -= np.logaddexp(law[0], math.log(2) + logsumexp(law[1:]))
    k = np.arange(shift - far, far - shift + 1)
    p, q = law[abs(k - shift)], law[abs(k)]
    return [logsumexp(a * p + (1 - a) * q) / (a - 1) for a in orders]


@pytest.mark.parametrize("variance", [0.25, 1.0, 10.0, 100.0, 5000.0])
@pytest.mark.parametrize("shift", [1, 2, 3, 10])
def test_the_skellam_bound_holds_and_is_near(variance, shift):
    orders = (2, 3, 4, 5, 9, 17, 33, 65)
    event = SkellamSum(variance, shift, shift, 0)
    for order, exact in zip(orders, exact_skellam(variance, shift, orders), strict=True):
        bound = skellam_rdp(order, event, 1)
        assert exact <= bound * (1 + 1e-9), (order, exact, bound)
        if variance >= 5000 and order < 20:
            assert exact >= 0.99 * bound
        assert skellam_rdp(order - 0.5, event, 1) == bound  # between whole orders: the next one's


def test_wide_skellam_noise_costs_little_more_than_gaussian():
    event = SkellamSum(1e8, 1e6, 1e4, 0)
    rdp_of_gaussian = 4.7285  # what RDP gives for a noise multiplier of 1, see the closed form 4.377
    found = spend([(event, 1)], ZERO, 1e-5)
    assert rdp_of_gaussian - 0.01 < found.epsilon < rdp_of_gaussian + 0.05
    assert spend([(event, 1)], REPLACE, 1e-5).epsilon > found.epsilon + 3
    assert spend([(event, 1), (Gaussian(5.0, Everyone(3), 0), 1)], ZERO, 1e-5).epsilon > found.epsilon


@pytest.mark.parametrize(("shift", "coordinates"), [(40, 1), (10, 16)])
def test_the_gap_between_the_skellam_bound_and_the_exact_epsilon_of_one_shift(shift, coordinates):
    """A privacy loss distribution of Skellam noise can be had for one given shift; of the worst one nobody knows it.

    So it is a floor under the truth, not a bound: the epsilon that is charged lies 8 to 9 % above it here.
    """
    from dp_accounting.pld import privacy_loss_distribution

    length = shift * math.isqrt(coordinates)
    variance = float(length**2)  # a noise multiplier of 1
    k = np.arange(-14 * length, 14 * length + 1)
    law = dict(zip(k.tolist(), np.log(ive(np.abs(k), variance)).tolist(), strict=True))
    moved = {at + shift: log for at, log in law.items()}
    one = privacy_loss_distribution.from_two_probability_mass_functions(law, moved, value_discretization_interval=1e-4)
    exact = one.self_compose(coordinates).get_epsilon_for_delta(1e-5)
    charged = spend([(SkellamSum(variance, length * math.sqrt(coordinates), length, 0), 1)], ZERO, 1e-5).epsilon
    gaussian = spend([(Gaussian(1.0, Everyone(2), 0), 1)], ZERO, 1e-5).epsilon
    assert exact == pytest.approx(gaussian, rel=2e-3)
    assert 1.07 < charged / exact < 1.1


def test_slack_goes_into_delta():
    clean, event = (Gaussian(2.0, Everyone(10), slack) for slack in (0.0, 1e-9))
    found, without = (spend([(e, 4)], ADD, 1e-5).epsilon for e in (event, clean))
    assert found > without
    room = 1e-5 - (1 + math.exp(found)) * 4e-9
    assert spend([(clean, 4)], ADD, room).epsilon <= found + 1e-9
    assert spend([(Gaussian(2.0, Everyone(10), 1e-4), 1)], ADD, 1e-5).epsilon == math.inf


@pytest.mark.parametrize(
    ("event", "neighbouring", "words"),
    [
        (Gaussian(1.0, FixedCohort(10, 100), 0), ADD, "takes its place"),
        (Gaussian(1.0, FixedCohort(10, 100), 0), ZERO, "takes its place"),
        (SkellamSum(1.0, 1, 1, 0), ADD, "who takes part"),
    ],
)
def test_what_no_proof_covers_is_refused(event, neighbouring, words):
    with pytest.raises(Incompatible, match=words):
        spend([(event, 1)], neighbouring, 1e-5)


def test_skellam_and_sampled_cohorts_do_not_share_an_account():
    with pytest.raises(Incompatible, match="two ledgers"):
        spend([(SkellamSum(1.0, 1, 1, 0), 1), (Gaussian(1.0, Poisson(0.1, 10), 0), 1)], ZERO, 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_is_a_probability(delta):
    with pytest.raises(InvalidValue):
        spend([], ADD, delta)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(MissingExtra, match=r"ringfort\[privacy\]"):
        spend([(Gaussian(1.2345, Poisson(0.1, 9), 0), 1)], ADD, 1e-5)


def test_curve_rises():
    curve = epsilon_curve(Gaussian(1.0, Poisson(0.1, 100), 0), ADD, 1e-5, (1, 10, 50))
    assert [s.epsilon for s in curve] == sorted(s.epsilon for s in curve)
    assert curve[0].epsilon < curve[-1].epsilon
