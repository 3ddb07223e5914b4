"""Nodes of a SuperLink as an Exchange, and a ClientApp that holds a node: Ringfort's own messages over Flower."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ringfort.core.checks import positive, whole
from ringfort.core.ports import Failure, Outcome
from ringfort.core.values import ClientId
from ringfort.engine.flower.names import node_name
from ringfort.engine.in_process import Node, answer
from ringfort.engine.packed import pack, unpack

__all__ = ["FlowerExchange", "node_app"]

_ACTION: Final = "ringfort"


class FlowerExchange:
    """Asks every node at once by one query each, and takes what came back before the deadline.

    Args:
        grid: of the ServerApp.
        max_reply_bytes: longest answer that is read. A longer one is refused, and so is what is no message.
        patience_s: how long a round without a deadline waits: a node whose process died never answers.
        names: how a node is called; enrolled names, for signed messages.
        poll_s: how often answers are asked for.

    Guarantees:
        The deadline is absolute, on this machine's clock. Late answers are dropped, whatever round they are for.
        One node's error is its own Failure, its bad answer its own Refusal.

    Does not protect against: whoever controls the SuperLink. Flower starts a new process for each message, so a node
        remembers nothing between two stages: plain rounds run, sealed ones do not.

    Cost: seconds for each exchange on a SuperLink, whatever is sent: Flower polls.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        max_reply_bytes: int,
        patience_s: float,
        names: Callable[[int], ClientId] = node_name,
        poll_s: float = 0.2,
    ) -> None:
        whole(1, max_reply_bytes=max_reply_bytes)
        positive(patience_s=patience_s, poll_s=poll_s)
        self._grid, self._limit, self._names = grid, max_reply_bytes, names
        self._patience_s, self._poll_s = patience_s, poll_s

    def _nodes(self) -> dict[ClientId, int]:
        return {self._names(node): node for node in self._grid.get_node_ids()}

    def members(self) -> tuple[ClientId, ...]:
        """The nodes that are connected now."""
        return tuple(sorted(self._nodes()))

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """Ask each node at once."""
        deadline = time.monotonic() + (self._patience_s if deadline_s is None else deadline_s)
        nodes = self._nodes()
        out: dict[ClientId, Outcome] = {
            name: Failure(name, "is not connected") for name in payloads if name not in nodes
        }
        asked = {nodes[name]: name for name in payloads if name in nodes}
        if not asked:
            return out
        waiting = {
            str(one) for one in self._grid.push_messages([_question(n, stage, payloads[asked[n]]) for n in asked])
        }
        while waiting:
            for reply in self._grid.pull_messages(sorted(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                name = asked.get(reply.metadata.src_node_id)
                if name is not None and name not in out and time.monotonic() < deadline:
                    out[name] = self._read(name, reply)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            if waiting:
                time.sleep(min(left_s, self._poll_s))
        return {name: out[name] for name in payloads if name in out}

    def _read(self, name: ClientId, reply: Message) -> Outcome:
        if reply.has_error():
            return Failure(name, f"Flower error {reply.error.code}: {reply.error.reason}")
        record = reply.content.config_records.get(_ACTION)
        return unpack(name, None if record is None else record.get("body"), self._limit)

    def close(self) -> None:
        """Nothing to give back: the SuperLink ends the run."""


def _question(node: int, stage: str, payload: bytes) -> Message:
    body = ConfigRecord({"stage": stage, "body": bytes(payload)})
    return Message(RecordDict({_ACTION: body}), dst_node_id=node, message_type=f"query.{_ACTION}")


def node_app(make: Callable[[Context], Node]) -> ClientApp:
    """A ClientApp that answers a FlowerExchange.

    Args:
        make: this node, from Flower's context; called for every message, since each has a process of its own. What must
            outlast a message (ledgers, what a `SignedNode` heard) lies in the node's own files.
    """
    app = ClientApp()

    @app.query(_ACTION)  # type: ignore[untyped-decorator]
    def handle(message: Message, context: Context) -> Message:
        said = message.content.config_records[_ACTION]
        node = make(context)
        packed = pack(answer(node.client, node.handle, str(said["stage"]), bytes(said["body"])))
        return Message(RecordDict({_ACTION: ConfigRecord({"body": packed})}), reply_to=message)

    return app
