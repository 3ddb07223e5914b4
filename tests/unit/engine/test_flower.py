"""The strategy and the mods with Flower's own messages, records and ClientApp; only the network is missing."""

import io
from itertools import count

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from ringfort.aggregate import Mean, MultiKrum
from ringfort.client.guards import WeightScreen
from ringfort.client.private import ClientPrivacy
from ringfort.core import client_id
from ringfort.core.errors import Incompatible, InvalidValue, ToleranceExceeded
from ringfort.engine.flower import Guarded, Private, RingfortStrategy, node_name
from ringfort.privacy import Budget, FixedClip, LocalNoise, Neighbouring, Unit
from ringfort.rounds import Defence, Gate, read_records

NODES = (11, 12, 13, 14, 15, 16)
GATE = Gate(max_norm=50.0, max_examples=1000)


@pytest.fixture(autouse=True)
def _in_a_task(monkeypatch):
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 1)
    monkeypatch.setattr(TaskIdentity, "_task_id", 1)


def start_arrays():
    return ArrayRecord({"w": Array(np.zeros((2, 3), np.float32)), "a": Array(np.zeros(3, np.float32))})


def honest(message, context):
    """One step towards the node's own point, near 1."""
    arrays = message.content["arrays"]
    goal = 1.0 + (context.node_id - 13) / 100
    moved = {
        name: Array((array.numpy() + (goal - array.numpy()) / 2).astype(np.float32)) for name, array in arrays.items()
    }
    metrics = MetricRecord({"num-examples": 20, "loss": float(context.node_id)})
    return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)


class Street(Grid):
    """Nodes in this process; each answers by a ClientApp of its own."""

    def __init__(self, train=None, mods=()):
        self.apps, self.contexts, self.asked = {}, {}, []
        self._ids, self._boxes = count(), {}
        for node in NODES:
            app = ClientApp(mods=list(mods(node) if callable(mods) else mods))
            app.train()((train or {}).get(node, honest))
            app.evaluate()(honest)
            self.apps[node] = app
            self.contexts[node] = Context(1, node, {}, RecordDict(), {})

    def set_run(self, run):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def get_node_ids(self):
        return list(NODES)

    def get_nodes(self):
        return []

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        out = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = str(next(self._ids))
            if message.metadata.message_type == "train":
                self.asked.append(node)
            try:
                reply = self.apps[node](message, self.contexts[node])
            except Exception as error:
                reply = Message(Error(code=2, reason=str(error)), reply_to=message)
            if reply is not None:
                out.append(reply)
        return out


def strategy(rule=None, f=0, run=None, **given):
    return RingfortStrategy(Defence(rule or Mean()), GATE, f=f, run=run, **given)


def vectors(arrays):
    return {name: array.numpy() for name, array in arrays.items()}


def test_with_the_mean_it_learns_what_fedavg_learns():
    ours = strategy().start(Street(), start_arrays(), 4)
    theirs = FedAvg().start(Street(), start_arrays(), 4)
    assert list(ours.arrays) == list(theirs.arrays) == ["w", "a"]
    for name, array in vectors(theirs.arrays).items():
        assert np.allclose(vectors(ours.arrays)[name], array, atol=1e-6)
        assert array.min() > 0.9


def test_a_hostile_node_takes_fedavg_and_not_multi_krum():
    def hostile(message, context):
        reply = honest(message, context)
        arrays = {name: Array(-8 * array.numpy() - 3) for name, array in reply.content["arrays"].items()}
        return Message(
            RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1000, "loss": 0.0})}),
            reply_to=message,
        )

    street = Street({14: hostile})
    assert abs(vectors(FedAvg().start(street, start_arrays(), 4).arrays)["w"] - 1).min() > 2
    guarded = strategy(MultiKrum(f=1), f=1)
    assert vectors(guarded.start(street, start_arrays(), 4).arrays)["w"].min() > 0.9
    weights = {v.client: v.weight for v in guarded.record.verdicts}
    assert weights[node_name(14)] == 0
    assert sum(weights.values()) == pytest.approx(1)


def npy(header, data=b""):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + data


def lying(name, **changes):
    def train(message, context):
        reply = honest(message, context)
        given = {"dtype": "float32", "shape": (3,), "stype": "numpy.ndarray", "data": b"", **changes}
        reply.content["arrays"][name] = Array(**given)
        return reply

    return train


def without_metrics(message, context):
    reply = honest(message, context)
    del reply.content["metrics"]
    return reply


def two_records(message, context):
    reply = honest(message, context)
    reply.content["more"] = ArrayRecord({"w": Array(np.zeros(2, np.float32))})
    return reply


def no_records(message, context):
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 5})}), reply_to=message)


def heavy(message, context):
    reply = honest(message, context)
    reply.content["metrics"]["num-examples"] = 10**9
    return reply


def listed(message, context):
    reply = honest(message, context)
    reply.content["metrics"]["num-examples"] = [1, 2]
    return reply


HEADER = {"descr": "<f4", "fortran_order": False, "shape": (3,)}


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (lying("a", data=npy({**HEADER, "shape": (2**34,)})), "dtype"),
        (lying("a", data=npy({**HEADER, "shape": (2**34,)}, bytes(12))), "dtype"),
        (lying("a", data=npy({**HEADER, "descr": "<f8"}, bytes(24))), "dtype"),
        (lying("a", data=npy({**HEADER, "descr": "|O"}, bytes(12))), "dtype"),
        (lying("a", data=npy(HEADER, bytes(8))), "dtype"),
        (lying("a", data=npy(HEADER, bytes(16))), "dtype"),
        (lying("a", data=b"\x80\x04cos\nsystem\n" + bytes(12)), "dtype"),
        (lying("a", data=bytes(10_000_000)), "dtype"),
        (lying("a", stype="pickle", data=npy(HEADER, bytes(12))), "dtype"),
        (lying("other", data=npy(HEADER, bytes(12))), "keys"),
        (lying("a", data=npy(HEADER, np.full(3, np.nan, np.float32).tobytes())), "not-finite"),
        (without_metrics, "weight-cap"),
        (two_records, "keys"),
        (no_records, "keys"),
        (heavy, "weight-cap"),
        (listed, "weight-cap"),
    ],
)
def test_whatever_one_node_sends_the_round_goes_on_without_it(train, reason):
    one = strategy(MultiKrum(f=1), f=1)
    result = one.start(Street({12: train}), start_arrays(), 1)
    [refusal] = one.record.refusals
    assert (refusal.client, refusal.reason) == ("node-12", reason)
    assert len(one.record.verdicts) == 5
    assert result.train_metrics_clientapp[1]["refused"] == 1
    assert vectors(result.arrays)["w"].min() > 0.4


def test_an_array_in_fortran_order_is_read_in_its_order():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)

    def train(message, context):
        reply = honest(message, context)
        reply.content["arrays"]["w"] = Array(np.asfortranarray(values))
        return reply

    result = strategy().start(Street(dict.fromkeys(NODES, train)), start_arrays(), 1)
    assert np.allclose(vectors(result.arrays)["w"], values, atol=1e-5)


def test_failures_and_absences_are_in_the_record():
    def fails(message, context):
        raise RuntimeError("my disk is full")

    one = strategy()
    result = one.start(Street({11: fails, 13: lambda message, context: None}), start_arrays(), 1)
    [failure] = one.record.failures
    assert failure.client == "node-11"
    assert "my disk is full" in failure.error
    assert one.record.absent == ("node-13",)
    assert {key: result.train_metrics_clientapp[1][key] for key in ("accepted", "failed", "absent")} == {
        "accepted": 4,
        "failed": 1,
        "absent": 1,
    }


def test_one_node_cannot_move_the_metrics_far():
    def boasts(message, context):
        reply = honest(message, context)
        reply.content["metrics"] = MetricRecord({"num-examples": 900, "loss": -1e9, "made-up": 1.0})
        return reply

    result = strategy().start(Street({16: boasts}), start_arrays(), 1)
    assert result.train_metrics_clientapp[1]["loss"] == 12.5
    assert "made-up" not in result.train_metrics_clientapp[1]
    assert result.evaluate_metrics_clientapp[1]["loss"] == 13.5


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    whole = strategy().start(Street(), start_arrays(), 5)
    strategy(run=tmp_path / "run").start(Street(), start_arrays(), 2)
    street = Street()
    rest = strategy(run=tmp_path / "run").start(street, start_arrays(), 5)
    assert len(street.asked) == 3 * len(NODES)
    assert all(np.array_equal(vectors(rest.arrays)[name], array) for name, array in vectors(whole.arrays).items())
    done = strategy(run=tmp_path / "run").start(street, start_arrays(), 5)
    assert len(street.asked) == 3 * len(NODES)
    assert np.array_equal(vectors(done.arrays)["w"], vectors(whole.arrays)["w"])
    assert [record.round for record in read_records(tmp_path / "run")[0]] == [0, 1, 2, 3, 4, 5]


def test_too_few_nodes_for_f_are_not_even_asked():
    street = Street()
    with pytest.raises(ToleranceExceeded):
        strategy(MultiKrum(f=2), f=2).start(street, start_arrays(), 1)
    assert street.asked == []


def test_what_cannot_be_is_refused():
    with pytest.raises(InvalidValue, match="start"):
        strategy().record  # noqa: B018
    with pytest.raises(Incompatible, match="counter"):
        strategy().start(Street(), ArrayRecord({"counter": Array(np.array(3))}), 1)


def noisy(folder, epsilon=50.0):
    noise = LocalNoise(FixedClip(0.5), 1.0, Neighbouring.REPLACE)
    budget = Budget(epsilon, 1e-5, Neighbouring.REPLACE, Unit.CLIENT)

    def mods(node):
        (folder / str(node)).mkdir(exist_ok=True)
        return [Private(ClientPrivacy(noise, budget, folder / str(node)), client_id(f"site-{node}"))]

    return mods


def test_the_private_mod_clips_adds_noise_and_hides_counts_and_metrics(tmp_path):
    street = Street(mods=noisy(tmp_path))
    message = Message(
        RecordDict({"arrays": start_arrays(), "config": ConfigRecord({"server-round": 1})}),
        message_type="train",
        dst_node_id=11,
    )
    [reply] = street.send_and_receive([message])
    assert dict(reply.content["metrics"]) == {"num-examples": 1}
    moved = np.concatenate([array.numpy().ravel() for array in reply.content["arrays"].values()])
    assert 0.5 < np.linalg.norm(moved) < 4.0
    assert len(set(moved)) == 9
    assert (tmp_path / "11" / "site-11.jsonl").read_bytes().count(b"\n") == 2


def test_a_client_whose_budget_is_spent_answers_no_more(tmp_path):
    one = strategy()
    street = Street(mods=noisy(tmp_path, epsilon=13.0))
    with pytest.raises(Exception, match="RF604"):
        one.start(street, start_arrays(), 9)
    assert 1 <= one.record.round < 9
    again = strategy()
    with pytest.raises(Exception, match=r"RF604.*budget"):
        again.start(Street(mods=noisy(tmp_path, epsilon=13.0)), start_arrays(), 1)


def test_a_guarded_client_refuses_a_model_made_to_leak():
    twins = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    street = Street(mods=[Guarded(WeightScreen(twins=0.1, largest=1e3))])
    one = strategy()
    with pytest.raises(Exception, match="twin"):
        one.start(street, ArrayRecord({"layer.weight": Array(twins)}), 1)
    assert strategy().start(Street(), ArrayRecord({"layer.weight": Array(twins)}), 1).arrays
