"""Different models for different clients: the total gives one client away, unless the seal binds the model."""

import numpy as np
import pytest

from ringfort import data
from ringfort.audit.inference import Imprint, ModelInconsistency, likeness
from ringfort.client.node import local_clients
from ringfort.client.numpy_models import NumpyModel
from ringfort.client.sealed import SealedClient
from ringfort.core.errors import BadSignature, BelowFloor, Incompatible, ProtocolAbort, RingfortError
from ringfort.core.ports import LocalTraining, Reply
from ringfort.core.randomness import Seeds
from ringfort.core.seal import COORDINATOR, Contribution, Opened, SealedRound
from ringfort.core.tensors import digest_of
from ringfort.core.wire import Broadcast, open_frame
from ringfort.engine.in_process import InProcess
from ringfort.engine.sealed import SealedExchange
from ringfort.secagg.grouped import Grouped
from ringfort.secagg.masked import Masked
from ringfort.secagg.masked.messages import SHARES, Terms
from ringfort.secagg.roster import pack
from ringfort.secagg.shared import Shared
from ringfort.testing.sealed_round import Parties, mean_of, run_round

MODEL = NumpyModel(64, 10, (256,))
BATCH, CLIENTS = 8, 6
PLAN = LocalTraining(1, BATCH, 0.1)
SEEDS = Seeds(3)
MASKED = Masked(clip=50.0, bits=24, corrupt_fraction=0.1, dropout_fraction=0.0, min_cohort=4)
SHARED = Shared(clip=50.0, bits=15, min_cohort=4, max_weight=0.5)
GROUPED = Grouped(
    group_size=6, epoch_rounds=9, clip=50.0, bits=20, corrupt_fraction=0.0, dropout_fraction=0.0, min_group=4
)


@pytest.fixture(scope="module")
def split():
    return data.load("digits")


@pytest.fixture(scope="module")
def clients(split):
    rows = SEEDS.child("rows").permutation(len(split.train))[: BATCH * CLIENTS]
    return local_clients(split.train, np.array_split(rows, CLIENTS), MODEL, PLAN, SEEDS)


def attacked(split, clients, number, target):
    """What a lying server broadcasts in a round, as frames."""
    names = [client.client for client in clients]
    honest = MODEL.initial(SEEDS)
    sent = ModelInconsistency().broadcasts(MODEL, honest, split.test, names, target, SEEDS.child("imprint", number))
    return {name: Broadcast.encode("run", number, MODEL.schema.encode(params)) for name, params in sent.items()}


def updates(clients, frames):
    most = MODEL.schema.encoded_bytes
    bodies = {
        c.client: open_frame(c.handle("train", frames[c.client]), "update", max_body_bytes=most)[1] for c in clients
    }
    return {name: MODEL.schema.decode(body) for name, body in bodies.items()}


def read_back(split, client, total):
    mean = split.test.floats().astype(np.float64).mean(axis=0)
    truth = client.data.floats().astype(np.float64)
    return likeness(truth, ModelInconsistency().guesses(MODEL, total), mean)[0]


def test_without_a_seal_the_sum_gives_every_client_away_one_round_after_another(split, clients):
    shares = []
    for number, target in enumerate(clients, start=1):
        total = sum(updates(clients, attacked(split, clients, number, target.client)).values())
        shares.append(read_back(split, target, total).recognisable)
        bystander = clients[number % CLIENTS]
        assert read_back(split, bystander, total).recognisable < 0.2
    # the formula for one batch of 8 in 256 bins of equal chance: .973; of all 48 together it would be .832
    assert np.mean(shares) > 0.9


def test_through_a_seal_that_binds_no_model_it_would_work(split, clients):
    """A twin: everybody seals under one name of the round, whatever model it trained. It opens the target's update."""
    target = clients[0]
    given = {n: Contribution(u, 1) for n, u in updates(clients, attacked(split, clients, 1, target.client)).items()}
    run = run_round(MASKED, given)
    assert isinstance(run.opened, Opened)
    assert read_back(split, target, run.opened.view.total).recognisable > 0.8


class Lying:
    """The server's exchange, which swaps every client's broadcast for its own."""

    def __init__(self, inner, frames):
        self.inner, self.frames = inner, frames

    def members(self):
        return self.inner.members()

    def exchange(self, stage, payloads, deadline_s):
        return self.inner.exchange(stage, {name: self.frames[name] for name in payloads}, deadline_s)

    def close(self):
        self.inner.close()


@pytest.mark.parametrize("seal", [MASKED, SHARED, GROUPED], ids=["masked", "shared", "grouped"])
def test_the_seals_abort_and_open_nothing(split, clients, seal):
    target = clients[0].client
    for frames, works in ((attacked(split, clients, 1, target), False), (None, True)):
        frames = frames or {
            c.client: Broadcast.encode("run", 1, MODEL.schema.encode(MODEL.initial(SEEDS))) for c in clients
        }
        exchange = SealedExchange(Lying(InProcess(clients), frames), seal, MODEL.schema, mean_of)
        said = exchange.exchange("train", dict.fromkeys(exchange.members(), b""), None)
        hellos = {name: reply.body for name, reply in said.items() if isinstance(reply, Reply)}
        assert len(hellos) == CLIENTS
        opened = []
        for frame in set(frames.values()):  # whichever model the coordinator says the round is about
            body = frame[-MODEL.schema.encoded_bytes :]
            try:
                phase = exchange.server.begin(SealedRound("run", 1, digest_of(body), MODEL.schema.d), hellos, mean_of)
                while not isinstance(phase, Opened):
                    replies = exchange.exchange(phase.ask.stage, phase.ask.payloads, None)
                    phase = phase.on_replies({n: r.body for n, r in replies.items() if isinstance(r, Reply)})
                opened.append(phase)
            except ProtocolAbort:
                continue
        if works:
            assert len(opened) == 1  # the same loop opens an honest round
        else:
            # the bystanders alone may finish, without the target: their first layers did not move
            for one in opened:
                assert target not in {name for members in one.members.values() for name in members}


def test_a_coordinator_that_relays_all_hellos_anyway_is_refused_by_every_client(split, clients):
    """It signs for each client under the model that this client trained. The others' hellos give it away."""
    frames = attacked(split, clients, 1, clients[0].client)
    parties = Parties.of(MASKED, tuple(c.client for c in clients))
    sealed = {
        c.client: SealedClient(
            c.client, lambda frame, c=c: c.handle("train", frame), MODEL.schema, parties.clients[c.client]
        )
        for c in clients
    }
    hellos = {name: sealed[name].handle("train", frames[name]) for name in sealed}
    from ringfort.core.envelope import seal_envelope

    for name in sealed:
        of = SealedRound("run", 1, digest_of(frames[name][-MODEL.schema.encoded_bytes :]), MODEL.schema.d)
        terms = Terms(of, MASKED, parties.directory)
        slot = terms.slot(SHARES, terms.context)
        message = seal_envelope(parties.keys[COORDINATOR], COORDINATOR, slot, pack(hellos))
        with pytest.raises(BadSignature):
            sealed[name].handle(SHARES, message)
        with pytest.raises(RingfortError):  # and it has left the round
            sealed[name].handle(SHARES, message)


def test_a_round_for_the_target_alone_is_below_its_floor(split, clients):
    frames = attacked(split, clients, 1, clients[0].client)
    exchange = SealedExchange(Lying(InProcess(clients), frames), MASKED, MODEL.schema, mean_of)
    said = exchange.exchange("train", dict.fromkeys(exchange.members(), b""), None)
    body = frames[clients[0].client][-MODEL.schema.encoded_bytes :]
    with pytest.raises(BelowFloor):
        exchange.server.begin(
            SealedRound("run", 1, digest_of(body), MODEL.schema.d), {n: r.body for n, r in said.items()}, mean_of
        )


def test_it_needs_a_hidden_layer_and_a_target_in_the_cohort(split, clients):
    rng = np.random.default_rng(0)
    with pytest.raises(Incompatible):
        ModelInconsistency(Imprint()).broadcasts(
            NumpyModel(64, 10), np.zeros(650, np.float32), split.test, ["a"], "a", rng
        )
    with pytest.raises(Incompatible, match="not in the cohort"):
        ModelInconsistency().broadcasts(MODEL, MODEL.initial(SEEDS), split.test, ["a"], "b", rng)
