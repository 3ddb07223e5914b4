"""Update attacks: noise, and those that know every honest update."""

from dataclasses import replace

import numpy as np
import pytest

from ringfort.attacks import ALIE, IPM, AttackerView, GaussianNoise, Knowledge, Mimic, MinMax, MinSum
from ringfort.core.errors import NotGranted, UnknownName
from ringfort.core.randomness import Seeds

RNG = Seeds(1).child("tests")
HONEST = np.random.default_rng(4).standard_normal((16, 200)).astype(np.float32) + np.float32(0.3)


def craft(attack, honest=HONEST, k=4):
    own = np.zeros((k, honest.shape[1]), dtype=np.float32)
    return attack.craft(AttackerView(attack.threat, 1, honest[0], own, honest), RNG)


def distances(point):
    return np.linalg.norm(HONEST.astype(np.float64) - point, axis=1)


def test_noise_has_the_stated_deviation_and_differs_between_attackers():
    sent = craft(GaussianNoise(sigma=0.5), np.zeros((3, 20_000), dtype=np.float32))
    assert sent.std() == pytest.approx(0.5, rel=0.02)
    assert abs(float(sent[0] @ sent[1])) / (np.linalg.norm(sent[0]) * np.linalg.norm(sent[1])) < 0.05


def test_alie_sends_the_mean_minus_z_deviations():
    np.testing.assert_allclose(craft(ALIE(z=1.5))[2], HONEST.mean(axis=0) - 1.5 * HONEST.std(axis=0), atol=1e-5)


def test_alie_takes_the_papers_z_from_the_cohort():
    # 20 clients, 4 attackers: 7 honest ones are needed, 9 of 16 lie below, and the normal quantile of 9/16 is 0.157
    np.testing.assert_allclose(craft(ALIE())[0], HONEST.mean(axis=0) - 0.1573 * HONEST.std(axis=0), atol=1e-4)


def test_ipm_sends_the_honest_mean_reversed():
    np.testing.assert_allclose(craft(IPM(epsilon=0.7))[3], -0.7 * HONEST.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
def test_min_max_goes_exactly_as_far_as_two_honest_clients_are_apart(direction):
    allowed = max(distances(row).max() for row in HONEST)
    assert distances(craft(MinMax(direction=direction))[0]).max() == pytest.approx(allowed, rel=1e-4)


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
def test_min_sum_has_exactly_the_sum_of_squares_of_the_worst_honest_client(direction):
    allowed = max(np.square(distances(row)).sum() for row in HONEST)
    assert np.square(distances(craft(MinSum(direction=direction))[0])).sum() == pytest.approx(allowed, rel=1e-4)


@pytest.mark.parametrize("attack", [MinMax(), MinSum(), ALIE(), IPM(epsilon=0.1), Mimic(victim=3)], ids=repr)
def test_colluders_all_send_the_same(attack):
    sent = craft(attack)
    assert sent.shape == (4, 200)
    assert (sent == sent[0]).all()


def test_mimic_copies_its_victim_bit_for_bit_and_counts_round():
    np.testing.assert_array_equal(craft(Mimic(victim=3))[0], HONEST[3])
    np.testing.assert_array_equal(craft(Mimic(victim=19))[0], HONEST[3])


def test_an_unknown_direction_is_refused_with_a_suggestion():
    with pytest.raises(UnknownName, match="did you mean 'unit'"):
        MinMax(direction="units")


def test_honest_updates_are_not_shown_to_an_attack_that_does_not_claim_to_know_them():
    class Peeping(type(ALIE())):
        threat = replace(ALIE.threat, knows=Knowledge.OWN_UPDATES)

    with pytest.raises(NotGranted, match="honest updates"):
        craft(Peeping())
