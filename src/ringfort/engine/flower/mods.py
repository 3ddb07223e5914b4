"""Mods for a Flower ClientApp: what a client does before it trains, and before anything leaves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict

from ringfort.client.guards import WeightScreen, refuse_if_suspicious
from ringfort.client.private import ClientPrivacy
from ringfort.core.errors import Incompatible, MalformedUpdate
from ringfort.core.tensors import Schema, digest_of
from ringfort.core.values import F32, ClientId
from ringfort.core.wire import Broadcast

__all__ = ["Guarded", "Private"]

Next = Callable[[Message, Context], Message]


@dataclass(frozen=True)
class Private:
    """A ClientApp mod: clip the update and add noise, paid for from this client's own ledger, before it leaves.

    Args:
        privacy: the mechanism, the budget, and the folder where this client keeps its ledger.
        client: this client's name in its ledger.

    Guarantees:
        Those of the mechanism, over all runs that use the ledger. Nothing leaves unpaid; when the budget is spent the
        reply is an error. Metrics are left out, and the claimed number of examples is 1: both are data.

    Does not protect against: what the app itself sends elsewhere, or replies to evaluation messages.
    """

    privacy: ClientPrivacy
    client: ClientId

    def __call__(self, message: Message, context: Context, call_next: Next) -> Message:
        """Train, then protect."""
        before = _only(message)
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        key, after = next(iter(reply.content.array_records.items()), ("arrays", None))
        if after is None or list(after) != list(before) or len(reply.content.array_records) != 1:
            raise MalformedUpdate("keys", "the app's reply does not hold exactly the tensors that it was sent")
        schema = Schema.of({name: array.numpy().shape for name, array in before.items()})
        start, end = _flat(before, schema), _flat(after, schema)
        number = int(message.content["config"]["server-round"]) if "config" in message.content else 0
        to = Broadcast("flower", number, start, digest_of(schema.encode(start)))
        safe = schema.views(start + self.privacy.protect(self.client, to, end - start))
        arrays = ArrayRecord({name: Array(np.array(safe[name])) for name in before})
        return Message(RecordDict({key: arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


@dataclass(frozen=True)
class Guarded:
    """A ClientApp mod: refuse to train a broadcast model that looks made to copy this client's data into its update.

    Args:
        screen: the client's own limits.

    Raises:
        Inconsistent (RF505): with the evidence; Flower sends it as an error reply.
    """

    screen: WeightScreen

    def __call__(self, message: Message, context: Context, call_next: Next) -> Message:
        """Look, then train."""
        record = _only(message)
        schema = Schema.of({name: array.numpy().shape for name, array in record.items()})
        refuse_if_suspicious(self.screen(schema, _flat(record, schema)))
        return call_next(message, context)


def _only(message: Message) -> ArrayRecord:
    records = list(message.content.array_records.values())
    if len(records) != 1:
        raise MalformedUpdate("keys", f"expected one record of arrays in the server's message, got {len(records)}")
    return records[0]


def _flat(record: ArrayRecord, schema: Schema) -> F32:
    flat = np.empty(schema.d, dtype=np.float32)
    for name, part in schema.slices.items():
        array = record[name].numpy()
        if array.dtype != np.float32:
            raise Incompatible(f"{name} is {array.dtype}: only float32 tensors can be protected")
        flat[part] = array.reshape(-1)
    return flat
