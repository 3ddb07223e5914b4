"""Flower as an engine: the suite of every exchange, with Flower's own messages and ClientApp over a grid of threads."""

import subprocess
import sys
import threading
import time
from itertools import count

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from ringfort import data
from ringfort.aggregate import Median
from ringfort.client import NumpyModel, local_clients
from ringfort.core import Failure, LocalTraining, Seeds
from ringfort.core.errors import InvalidValue
from ringfort.core.ports import Reply
from ringfort.core.values import Refusal
from ringfort.engine import InProcess
from ringfort.engine.flower import FlowerExchange, node_app
from ringfort.engine.packed import pack
from ringfort.rounds import Defence, Federation, Gate


@pytest.fixture(autouse=True)
def _in_a_task(monkeypatch):
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class Party:
    def __init__(self, client, handle):
        self.client, self.handle = client, handle


class Square(Grid):
    """A SuperLink in this process: each message is answered on a thread of its own, whenever that is done."""

    def __init__(self, apps):
        self.apps, self.done, self.lock = apps, {}, threading.Lock()
        self.ids, self.threads = count(1), []

    def set_run(self, run):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.apps)

    def push_messages(self, messages):
        sent = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"m{next(self.ids)}"
            thread = threading.Thread(target=self._answer, args=(message,), daemon=True)
            self.threads.append(thread)
            thread.start()
            sent.append(message.metadata.message_id)
        return sent

    def _answer(self, message):
        node = message.metadata.dst_node_id
        try:
            reply = self.apps[node](message, Context(1, node, {}, RecordDict(), {}))
        except Exception as error:
            reply = Message(Error(code=2, reason=str(error)), reply_to=message)
        with self.lock:
            self.done[message.metadata.message_id] = reply

    def pull_messages(self, message_ids):
        with self.lock:
            return [self.done.pop(one) for one in list(message_ids) if one in self.done]

    def send_and_receive(self, messages, *, timeout=None):
        raise NotImplementedError


def square(handlers):
    names = dict(enumerate(handlers, 11))
    apps = {node: node_app(lambda context, node=node: Party(names[node], handlers[names[node]])) for node in names}
    return FlowerExchange(Square(apps), max_reply_bytes=1 << 20, patience_s=30.0, names=names.__getitem__, poll_s=0.005)


def test_it_does_what_every_exchange_must(check_exchange):
    check_exchange(square)


def test_a_federation_over_flower_is_the_one_in_process():
    digits, seeds = data.load("digits"), Seeds(1)
    model = NumpyModel(64, 10)
    training = LocalTraining(steps=5, batch=16, learning_rate=0.2)
    clients = local_clients(digits.train, data.IID(4)(digits.train, seeds), model, training, seeds)
    far = square({client.client: client.handle for client in clients})
    given = {"defence": Defence(Median()), "gate": Gate(100.0, 1000), "rounds": 3, "seeds": seeds}
    over_flower = Federation(far, model, **given).run()
    in_process = Federation(InProcess(clients), model, **given).run()
    assert np.array_equal(over_flower.params, in_process.params)
    assert len(over_flower.record.verdicts) == 4


def replying(record):
    def app(message, context):
        return Message(RecordDict({"ringfort": ConfigRecord(record)} if record else {}), reply_to=message)

    return app


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "frame"),
        ({"other": b"x"}, "frame"),
        ({"body": "text"}, "frame"),
        ({"body": b""}, "frame"),
        ({"body": b"\xd8\x1e\x82\x01\x02"}, "frame"),
        ({"body": pack(Reply("node-11", bytes(10_000)))}, "size"),
    ],
)
def test_an_answer_that_is_none_is_a_refusal(record, reason):
    exchange = FlowerExchange(Square({11: replying(record)}), max_reply_bytes=100, patience_s=10.0, poll_s=0.005)
    refused = exchange.exchange("train", {"node-11": b"x"}, None)["node-11"]
    assert isinstance(refused, Refusal)
    assert refused.reason == reason


def test_a_node_whose_process_died_costs_the_deadline_and_no_more():
    def app(message, context):
        time.sleep(60)

    exchange = FlowerExchange(Square({11: app}), max_reply_bytes=100, patience_s=0.2, poll_s=0.01)
    assert exchange.exchange("train", {"node-11": b"x"}, None) == {}


def test_an_error_of_flowers_own_is_a_failure():
    def app(message, context):
        raise RuntimeError("no such app")

    exchange = FlowerExchange(Square({11: app}), max_reply_bytes=100, patience_s=10.0, poll_s=0.005)
    failed = exchange.exchange("train", {"node-11": b"x", "node-12": b"y"}, None)
    assert isinstance(failed["node-11"], Failure)
    assert "no such app" in failed["node-11"].error
    assert failed["node-12"] == Failure("node-12", "is not connected")


@pytest.mark.parametrize("wrong", [{"patience_s": 0.0}, {"max_reply_bytes": 0}, {"poll_s": -1.0}])
def test_bounds_are_checked(wrong):
    with pytest.raises(InvalidValue, match=next(iter(wrong))):
        FlowerExchange(Square({}), **{"max_reply_bytes": 1, "patience_s": 1.0, **wrong})


def test_a_node_loads_nothing_of_what_only_a_server_needs():
    """Flower starts a process for each message: what a node imports is paid for in every exchange."""
    code = (
        "import sys; from ringfort.engine.flower import node_app; "
        "print(*(f'ringfort.{one}' in sys.modules for one in ('rounds', 'aggregate', 'privacy', 'identity', 'detect')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False"] * 5


def test_names_that_are_not_there_are_said_to_be_missing():
    from ringfort import engine
    from ringfort.engine import flower

    for package in (engine, flower):
        assert all(getattr(package, name) for name in package.__all__)
        with pytest.raises(AttributeError, match="no_such_thing"):
            _ = package.no_such_thing
