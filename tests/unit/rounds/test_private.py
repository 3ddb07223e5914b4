"""Central differential privacy in the federation: what is charged, released, recorded, and what is refused."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ringfort.aggregate import Clip, Mean, Median, chain
from ringfort.client import LocalClient, NumpyModel
from ringfort.client.private import ClientPrivacy
from ringfort.core import Dataset, LocalTraining, Seeds, client_id
from ringfort.core.errors import BudgetExceeded, Incompatible
from ringfort.core.wire import Broadcast, open_frame
from ringfort.engine import InProcess, SealedExchange
from ringfort.privacy import (
    AdaptiveClip,
    Budget,
    CentralNoise,
    DistributedNoise,
    Everyone,
    FixedClip,
    FixedCohort,
    Ledger,
    LocalNoise,
    Neighbouring,
    Poisson,
    Unit,
    gdp_epsilon,
    read_account,
)
from ringfort.privacy.distributed import Grid
from ringfort.rounds import Defence, Journal
from ringfort.rounds.private import TARIFF, PrivateRelease
from ringfort.rounds.sealing import ServerSide
from ringfort.secagg.masked import Masked

N = 12


def mechanism(noise=1.0, sampling=None, clip=None):
    return CentralNoise(clip or FixedClip(0.5), noise, sampling or Everyone(N), Neighbouring.ADD_OR_REMOVE)


@pytest.fixture
def private():
    made = []

    def make(folder, how=None, epsilon=1e3):
        how = how or mechanism()
        budget = Budget(epsilon, 1e-3, Neighbouring.ADD_OR_REMOVE, Unit.CLIENT)
        made.append(PrivateRelease(how, Ledger(folder / "privacy.jsonl", "run", budget, {TARIFF: how.event})))
        return made[-1]

    yield make
    for release in made:
        release.ledger.close()


def test_a_private_step_is_the_clipped_mean_with_noise_of_the_stated_size(toy, tmp_path, private):
    quiet = private(tmp_path, mechanism(noise=0.5))
    before, after = list(toy.federation(n=N, rounds=1, release=quiet).states())
    deltas = []
    for client in toy.local_clients(N):
        rng = Seeds(1).child("train", 1, client.client)
        delta = toy.MODEL.train(before.params, client.data, toy.TRAINING, rng)
        deltas.append(delta * min(1.0, 0.5 / float(np.linalg.norm(delta))))
    away = after.params - before.params - np.mean(deltas, axis=0)
    assert 0 < np.abs(away).max() < 6 * quiet.mechanism.sigma  # 15 coordinates at six sigma: wrong once in 3e7


def test_every_round_is_charged_before_it_is_recorded_and_the_record_says_what_is_spent(toy, tmp_path, private):
    release = private(tmp_path)
    states = list(toy.federation(n=N, rounds=3, release=release).states())
    spent = [state.record.privacy["spent"]["epsilon"] for state in states[1:]]
    assert spent == sorted(spent)
    assert len(set(spent)) == 3
    assert states[-1].record.privacy["claim"]["mechanism"] == "central"
    assert states[-1].record.privacy["release"]["private"]
    release.ledger.close()
    assert [entry.round for entry in read_account(tmp_path / "privacy.jsonl").entries] == [1, 2, 3]


def test_the_budget_stops_the_run_before_anything_is_released(toy, tmp_path, private):
    (tmp_path / "a").mkdir()
    plain = private(tmp_path / "a")
    two = list(toy.federation(n=N, rounds=2, release=plain).states())[-1].record.privacy["spent"]["epsilon"]
    (tmp_path / "b").mkdir()
    tight = private(tmp_path / "b", epsilon=two * 1.01)
    states = toy.federation(n=N, rounds=5, release=tight).states()
    for _ in range(3):
        last = next(states)
    with pytest.raises(BudgetExceeded, match="RF401"):
        next(states)
    assert last.round == 2
    assert len(tight.ledger.account.entries) == 2


def test_a_poisson_cohort_may_be_empty_and_then_noise_is_released(toy, tmp_path, private):
    rare = private(tmp_path, mechanism(sampling=Poisson(1e-9, N)))
    before, after = list(toy.federation(n=N, rounds=1, rate=1e-9, release=rare).states())
    assert after.record.cohort == ()
    assert after.record.verdicts == ()
    assert not np.array_equal(before.params, after.params)


def test_private_cohorts_are_drawn_from_the_operating_system(toy, tmp_path, private):
    drawn = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        release = private(tmp_path / name, mechanism(sampling=Poisson(0.5, N)))
        states = list(toy.federation(n=N, rounds=8, rate=0.5, release=release).states())
        drawn.append([state.record.cohort for state in states])
    assert drawn[0] != drawn[1]  # equal with a chance of 2^-96


def test_a_clip_that_adapts_goes_on_from_the_record_after_a_resume(toy, tmp_path, private):
    clip = AdaptiveClip(norm=4.0, quantile=0.5, learning_rate=0.2, count_noise=1.0)
    norms = []
    for rounds in (2, 4):
        with Journal(tmp_path) as journal:
            release = private(tmp_path, mechanism(clip=clip))
            last = toy.federation(n=N, rounds=rounds, release=release, journal=journal).run()
            release.ledger.close()
            norms += [record.privacy["release"]["norm"] for record in journal.records[1:]][len(norms) :]
    assert norms[0] == 4.0
    assert all(one != other for one, other in itertools.pairwise(norms))
    assert last.record.privacy["next_norm"] != norms[-1]


def test_noise_after_a_rule_whose_reach_nobody_knows_is_refused_before_anything_runs(toy, tmp_path, private):
    with pytest.raises(Incompatible, match="promises nothing"):
        toy.federation(n=N, defence=Defence(Median()), release=private(tmp_path))


def test_a_rate_stands_instead_of_a_size(toy):
    with pytest.raises(Incompatible, match="instead"):
        toy.federation(n=N, cohort=3, rate=0.5)
    cohorts = [s.record.cohort for s in toy.federation(n=N, rate=0.5, rounds=6, rule=Mean()).states()][1:]
    again = [s.record.cohort for s in toy.federation(n=N, rate=0.5, rounds=6, rule=Mean()).states()][1:]
    assert cohorts == again
    assert len({len(cohort) for cohort in cohorts}) > 1


# --- noise that clients add ---------------------------------------------------------------------------------------


SEAL = Masked(clip=0.5, bits=12, corrupt_fraction=0.1, dropout_fraction=0.1, min_cohort=N, rotate=True)
WIDE = NumpyModel(64, 10)


def wide_clients(privacy):
    out = []
    for i in range(N):
        rng = np.random.default_rng(i)
        labels = rng.integers(0, 10, 30)
        inputs = (rng.standard_normal((30, 64)) + np.eye(64)[labels]).astype(np.float32)
        data = Dataset("toy", inputs, labels, tuple("abcdefghij"))
        name = client_id(f"c{i:02}")
        out.append(LocalClient(name, WIDE, data, LocalTraining(2, 8, 0.1), Seeds(1), privacy))
    return out


def wide(toy, privacy=None, **changes):
    street = toy.Street(wide_clients(privacy))
    if "seal" in changes:
        street = SealedExchange(street, changes["seal"], WIDE.schema, Mean())
        changes["seal"] = ServerSide(changes["seal"], street.server)
    return toy.federation(exchange=street, model=WIDE, rounds=1, **changes)


def residual(toy, federation):
    clipped = wide(toy, rule=chain(Clip(radius=0.5), Mean())).run().params
    return (federation.run().params - clipped) * N


def budget(relation):
    return Budget(1e3, 1e-3, relation, Unit.CLIENT)


def test_shares_of_noise_under_the_seal_make_up_what_the_claim_counts(toy, tmp_path):
    grid = Grid(SEAL.encoding.scale(650), SEAL.encoding.norm_bound(650), SEAL.encoding.length(650))
    shares = DistributedNoise(FixedClip(0.5), 1.0, N, 2, Neighbouring.ZERO_OUT, grid)
    private = ClientPrivacy(shares, budget(Neighbouring.ZERO_OUT), tmp_path)
    left = residual(toy, wide(toy, private, seal=replace(SEAL, noise=shares.noise())))
    counted = shares.sigma * np.sqrt(N / (N - 2))  # nobody colluded, so all shares are there
    assert left.std() == pytest.approx(counted, rel=0.17)  # six standard deviations of 650 squares
    spent = {account.worst().epsilon for account in private.accounts()}
    assert len(spent) == 1
    assert gdp_epsilon(1.0, 1e-3) < spent.pop() < 1.2 * gdp_epsilon(1.0, 1e-3)  # central noise costs the lower end


def test_local_noise_is_enough_for_every_client_alone(toy, tmp_path):
    local = LocalNoise(FixedClip(0.5), 1.0, Neighbouring.REPLACE)
    private = ClientPrivacy(local, budget(Neighbouring.REPLACE), tmp_path)
    left = residual(toy, wide(toy, private))
    assert left.std() == pytest.approx(local.sigma * np.sqrt(N), rel=0.17)
    assert len(private.accounts()) == N


def test_a_client_whose_budget_is_spent_answers_no_more_and_the_round_goes_on(toy, tmp_path):
    local = LocalNoise(FixedClip(0.5), 1.0, Neighbouring.REPLACE)
    tight = ClientPrivacy(local, Budget(10.0, 1e-3, Neighbouring.REPLACE, Unit.CLIENT), tmp_path)
    clients = wide_clients(None)
    clients[3] = replace(clients[3], privacy=tight)
    states = list(toy.federation(exchange=InProcess(clients), model=WIDE, rounds=3).states())
    assert [len(state.record.verdicts) for state in states[1:]] == [N, N - 1, N - 1]
    assert "RF401" in states[-1].record.failures[0].error


def test_a_private_client_does_not_say_how_much_it_holds(tmp_path):
    local = LocalNoise(FixedClip(0.5), 1.0, Neighbouring.REPLACE)
    private = wide_clients(ClientPrivacy(local, budget(Neighbouring.REPLACE), tmp_path))[0]
    frame = Broadcast.encode("run", 1, WIDE.schema.encode(WIDE.initial(Seeds(1))))
    claims = [
        open_frame(client.handle("train", frame), "update", max_body_bytes=WIDE.schema.encoded_bytes)[0].num_examples
        for client in (private, replace(private, privacy=None))
    ]
    assert claims == [1, 30]


class Leaving(InProcess):
    """Its first client cannot be asked from round 3 on: revoked, expired, or left out by an engine."""

    left = False

    def members(self):
        return super().members()[1 if self.left else 0 :]


@pytest.mark.parametrize(
    ("sampling", "drawn", "charged"),
    [(FixedCohort(3, N), {"cohort": 3}, 2), (Poisson(0.5, N), {"rate": 0.5}, 4), (Everyone(N), {}, 4)],
    ids=["fixed", "poisson", "everyone"],
)
def test_a_fixed_cohort_is_never_drawn_from_fewer_than_are_counted(toy, tmp_path, private, sampling, drawn, charged):
    how = CentralNoise(FixedClip(0.5), 1.0, sampling, Neighbouring.REPLACE)
    exchange = Leaving(toy.local_clients(N))
    budget = Budget(1e3, 1e-3, Neighbouring.REPLACE, Unit.CLIENT)
    with Ledger(tmp_path / "privacy.jsonl", "run", budget, {TARIFF: how.event}) as ledger:
        made = toy.federation(exchange=exchange, release=PrivateRelease(how, ledger), rounds=4, **drawn)

        def run():
            for state in made.states():
                exchange.left = state.record.round >= 2

        if charged < 4:
            with pytest.raises(Incompatible, match="cohorts of 3 out of 12 clients, and 11 can be asked"):
                run()
        else:
            run()
        assert len(ledger.account.entries) == charged
