"""A federation to run hundreds of times: 3 classes, 4 inputs, 15 parameters, clients that may misbehave."""

from dataclasses import dataclass, field

import cbor2
import numpy as np

from ringfort.aggregate import Mean
from ringfort.client import LocalClient, NumpyModel
from ringfort.core import Dataset, Failure, LocalTraining, Reply, Schema, Seeds, client_id
from ringfort.core.tensors import digest_of
from ringfort.core.wire import Broadcast
from ringfort.rounds import Defence, Federation, Gate, RoundPlan

MODEL = NumpyModel(4, 3)
TRAINING = LocalTraining(steps=3, batch=8, learning_rate=0.3)
GATE = Gate(max_norm=100.0, max_examples=1000)


def names(n):
    return tuple(client_id(f"c{i}") for i in range(n))


def data(seed, rows=20):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    inputs = rng.standard_normal((rows, 4)) + 2 * np.eye(4)[labels]
    return Dataset("toy", inputs.astype(np.float32), labels.astype(np.int64), ("a", "b", "c"))


def local_clients(n=5):
    return [LocalClient(name, MODEL, data(i), TRAINING, Seeds(1)) for i, name in enumerate(names(n))]


@dataclass
class Street:
    """An exchange in this process. `tricks` maps a client to trick(name, frame, honest) -> Reply | Failure | None."""

    clients: list
    tricks: dict = field(default_factory=dict)
    backwards: bool = False
    uninvited: tuple = ()
    closed: bool = False

    def members(self):
        return tuple(sorted((client.client for client in self.clients), reverse=self.backwards))

    def exchange(self, stage, payloads, deadline_s):
        known = {client.client: client for client in self.clients}
        out = {}
        for name in list(payloads)[::-1] if self.backwards else payloads:
            frame = payloads[name]
            trick = self.tricks.get(name, lambda name, frame, honest: Reply(name, honest()))
            answer = trick(name, frame, lambda name=name, frame=frame: known[name].handle(stage, frame))
            if answer is not None:
                out[name] = answer
        return out | {reply.client: reply for reply in self.uninvited}

    def close(self):
        self.closed = True


def federation(n=5, rounds=4, rule=None, tricks=None, **changes):
    defaults = {
        "exchange": Street(local_clients(n), tricks or {}),
        "model": MODEL,
        "defence": Defence(Mean() if rule is None else rule),
        "gate": GATE,
        "rounds": rounds,
        "seeds": Seeds(1),
    }
    return Federation(**{**defaults, **changes})


def answer(name, frame, *, values=None, **claims):
    """An update as the client `name` would send it, with any claim of its header changed."""
    to = Broadcast.decode(frame, MODEL.schema)
    body = MODEL.schema.encode(np.zeros(MODEL.schema.d, np.float32) if values is None else values)
    return frame_of(body, **{"client": name, "run": to.run, "round": to.round, "model": to.model, **claims})


def frame_of(body, **claims):
    fields = {"kind": "update", "num_examples": 10, "body": bytes.fromhex(digest_of(body)), **claims}
    fields["model"] = bytes.fromhex(fields["model"])
    header = cbor2.dumps(fields, canonical=True)
    return b"RFW1" + len(header).to_bytes(4, "big") + header + body


def flood(value):
    """A trick: every coordinate is `value`."""
    return lambda name, frame, honest: Reply(
        name, answer(name, frame, values=np.full(MODEL.schema.d, value, np.float32))
    )


def fails(name, frame, honest):
    return Failure(name, "ValueError: no", "Traceback ...\nValueError: no")


def absent(name, frame, honest):
    return None


def says(body):
    return lambda name, frame, honest: Reply(name, body)


SCHEMA = Schema.of({"bias": (2,), "weight": (2, 3)})
PLAN = RoundPlan("run-1", 7, names(11), digest_of(b"model"), SCHEMA, None)


def sent(client="c0", values=None, body=None, sender=None, **claims):
    """A reply to PLAN: honest, unless something is changed."""
    if body is None:
        body = SCHEMA.encode(np.ones(8, np.float32) if values is None else np.asarray(values, np.float32))
    header = {"client": client, "run": PLAN.run, "round": PLAN.round, "model": PLAN.model, **claims}
    return Reply(client if sender is None else sender, frame_of(body, **header))
