"""A sealed round that stopped before each of its messages, so that another can be handed over in the place of one.

`run_round` costs a whole round for each message that is tried. Here a round is run once; what every party held before a
message came is kept and set back, so a try costs what its receiver does with it. Messages are taken apart down to what
their signers said, and put together again with the signatures of whoever said it: what a hostile insider can send.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ringfort.core.envelope import Slot, seal_envelope
from ringfort.core.errors import RingfortError
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.randomness import SecureRandom
from ringfort.core.seal import Ask, ClientPhase, Contribution, Opened, SealedRound, ServerPhase
from ringfort.core.values import ClientId
from ringfort.core.views import Rows, Total
from ringfort.core.wire import plain_map
from ringfort.secagg.hazmat import AgreementKey, aead
from ringfort.secagg.roster import pack, unpack
from ringfort.secagg.shared.messages import bundle, framed, unbundle, unframe
from ringfort.testing.sealed_round import Parties

__all__ = ["HOWS", "Node", "Remembering", "StoppedRound"]

HOWS: Final = ("replace", "splice", "drop", "copy", "rename", "stage")
"""What is done to one part of a message.

replace: by other bytes. splice: a stretch of it. drop, rename: in the map that it lies in. copy: by another part of
the same message. stage: nothing, but a helper is told that it is for another stage.
"""

_STAGES_AT_MOST: Final = 32
_DEEPEST: Final = 8
_KNOWN_AT_MOST: Final = 256

_Box = tuple[bytes, bytes, bytes]
"""Key, plaintext, what it is bound to."""


@dataclass(frozen=True, slots=True)
class Node:
    """A message, or a part of one.

    Args:
        raw: its bytes.
        parts: what lies in it, by name.
        join: makes the bytes of such a thing from the bytes of its parts.
        free: its parts can be dropped and renamed.
    """

    raw: bytes = field(repr=False)
    parts: Mapping[str, Node] = field(default_factory=dict)
    join: Callable[[Mapping[str, bytes]], bytes] | None = field(default=None, repr=False)
    free: bool = False

    def paths(self) -> list[tuple[str, ...]]:
        """Of itself and of all that lies in it."""
        return [(), *((name, *path) for name, part in self.parts.items() for path in part.paths())]

    def at(self, path: tuple[str, ...]) -> Node:
        """The part there."""
        return self if not path else self.parts[path[0]].at(path[1:])

    def altered(self, path: tuple[str, ...], change: Callable[[Node], bytes]) -> bytes:
        """The message with another part there, joined and signed anew up to the top."""
        if not path:
            return change(self)
        inner = {name: part.raw for name, part in self.parts.items()}
        inner[path[0]] = self.parts[path[0]].altered(path[1:], change)
        assert self.join is not None  # noqa: S101  # whatever has parts has it
        return self.join(inner)


class Remembering(Directory):
    """Knows the first few hundred signatures again that it has verified: those of the honest round."""

    def __post_init__(self) -> None:
        Directory.__post_init__(self)
        object.__setattr__(self, "_verified", set())

    def only(self, names: Iterable[ClientId]) -> Remembering:
        """It remembers what this one does."""
        some = Remembering({name: self[name] for name in names})
        object.__setattr__(some, "_verified", self._verified)  # type: ignore[attr-defined]
        return some

    def verifies(self, name: ClientId, signature: bytes, message: bytes) -> bool:
        """As a directory does."""
        known: set[tuple[ClientId, bytes, bytes]] = self._verified  # type: ignore[attr-defined]
        said = name, signature, message
        if said in known:
            return True
        good = Directory.verifies(self, name, signature, message)
        if good and len(known) < _KNOWN_AT_MOST:
            known.add(said)
        return good


class _Kept:
    """The mutable state behind some objects of ours, to be set back. Keys and arrays are never changed, so not kept."""

    __slots__ = ("_attributes", "_dicts", "_lists")

    def __init__(self, *roots: object) -> None:
        self._attributes: list[tuple[Any, str, Any]] = []
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []
        seen: set[int] = set()
        left: list[Any] = list(roots)
        while left:
            at = left.pop()
            if id(at) not in seen and not isinstance(at, (SigningKey, AgreementKey, Directory)):
                seen.add(id(at))
                left += self._within(at)

    def _within(self, at: Any) -> list[Any]:
        if isinstance(at, dict):
            self._dicts.append((at, dict(at)))
            return list(at.values())
        if isinstance(at, list):
            self._lists.append((at, list(at)))
            return at
        if isinstance(at, tuple):
            return list(at)
        if not type(at).__module__.startswith("ringfort."):
            return []
        slots = [name for kind in type(at).__mro__ for name in getattr(kind, "__slots__", ())]
        names = [name for name in slots if hasattr(at, name)]
        if not getattr(type(at), "__dataclass_params__", None):
            self._attributes += [(at, name, getattr(at, name)) for name in names]
        return [getattr(at, name) for name in names] + list(getattr(at, "__dict__", {}).values())

    def set_back(self) -> None:
        for at, name, value in self._attributes:
            setattr(at, name, value)
        for whole, was in self._dicts:
            if whole != was:
                whole.clear()
                whole.update(was)
        for row, had in self._lists:
            row[:] = had


@dataclass(frozen=True)
class _Stage:
    """One exchange: what the server asks, and what came back.

    Args:
        phase: of the server; None while it waits for hellos.
        clients: each client's phase before it was asked, and `clients_after` after.
        held: by party, what it held before it was asked.
        after: what everybody held when all had answered.
    """

    name: str
    phase: ServerPhase | None
    asked: Mapping[ClientId, bytes]
    replies: Mapping[ClientId, bytes]
    clients: Mapping[ClientId, ClientPhase]
    clients_after: Mapping[ClientId, ClientPhase]
    held: Mapping[ClientId, _Kept]
    after: _Kept


@dataclass(frozen=True, slots=True)
class _Point:
    """One message: in which stage, to or from whom."""

    stage: int
    to_server: bool
    party: ClientId
    message: Node
    paths: tuple[tuple[str, ...], ...] = field(repr=False)


class StoppedRound:
    """One honest round, taken to its end, and every point in it at which somebody hears something.

    Args:
        parties: of the seal.
        given: their contributions.

    Of the clients' messages those of the first and the last are points; the others' are alike.
    """

    def __init__(self, parties: Parties, given: Mapping[ClientId, Contribution]) -> None:
        self.parties, self._given = parties, given
        self._names = tuple(given)
        self.of = SealedRound("run", 1, "ab" * 32, len(next(iter(given.values())).delta))
        self._boxes: dict[bytes, _Box] = {}
        with _noting(self._boxes):
            self._stages = list(self._run())
        self.points = tuple(self._all_points())
        self.stages = tuple(dict.fromkeys(stage.name for stage in self._stages))

    def _run(self) -> Iterator[_Stage]:
        clients: dict[ClientId, ClientPhase] = {}
        hellos: dict[ClientId, bytes] = {}
        for name, contribution in self._given.items():
            clients[name], hellos[name] = self.parties.clients[name].begin(self.of, contribution)
        everybody = self.parties.clients, self.parties.helpers
        after = dict(clients)
        yield _Stage("train", None, {}, hellos, {}, after, {}, _Kept(*everybody, after))
        phase: ServerPhase | Opened = self.parties.server.begin(self.of, hellos, self.parties.decide)
        for _ in range(_STAGES_AT_MOST):
            if isinstance(phase, Opened):
                return
            ask, before = phase.ask, dict(clients)
            held = {name: _Kept(clients.get(name), self.parties.helpers.get(name)) for name in ask.payloads}
            replies = {name: self._answer(name, ask.stage, ask.payloads[name], clients) for name in ask.payloads}
            after = dict(clients)
            kept = _Kept(*everybody, after, phase)
            yield _Stage(ask.stage, phase, dict(ask.payloads), replies, before, after, held, kept)
            phase = phase.on_replies(replies)
        raise AssertionError(f"after {_STAGES_AT_MOST} stages the server is still asking")

    def _answer(self, name: ClientId, stage: str, message: bytes, clients: dict[ClientId, ClientPhase]) -> bytes:
        if name in self.parties.helpers:
            return self.parties.helpers[name].handle(stage, message)
        following, reply = clients.pop(name).on_message(message)
        if following is not None:
            clients[name] = following
        return reply

    def _all_points(self) -> Iterator[_Point]:
        some = {self._names[0], self._names[-1], *self.parties.helpers}
        for number, stage in enumerate(self._stages):
            for to_server, messages in ((False, stage.asked), (True, stage.replies)):
                for party, message in messages.items():
                    if party in some:
                        node = self._grown(message)
                        yield _Point(number, to_server, party, node, tuple(node.paths()))

    def hand(self, point: _Point, message: bytes, *, on: bool, stage: str | None = None) -> object:
        """Set everybody back, and hand this message over.

        Args:
            point: where.
            message: what its receiver gets.
            on: take the round to its end, with whoever did not leave it.
            stage: what a helper is told that it is for; the point's own if None.

        Returns:
            The receiver's answer, next phase or view.

        Raises:
            RingfortError: it was refused, or the round ended because of it.
        """
        at = self._stages[point.stage]
        at.after.set_back()
        if point.to_server:
            replies = {**at.replies, point.party: message}
            return self._rest(self._heard(at, replies, point, message), dict(at.clients_after), on=on)
        at.held[point.party].set_back()
        clients = {**at.clients_after}
        if point.party in at.clients:
            clients[point.party] = at.clients[point.party]
        try:
            reply = self._answer(point.party, stage or at.name, message, clients)
        except RingfortError:
            if on:
                self._without(at, point, clients)
            raise
        assert type(reply) is bytes  # noqa: S101  # what goes on a wire
        if not on:
            return reply
        return self._rest(self._heard(at, {**at.replies, point.party: reply}, point, b""), clients, on=True)

    def _without(self, at: _Stage, point: _Point, clients: dict[ClientId, ClientPhase]) -> None:
        """What a refused message left: a party that is asked again, and a server that goes on without its answer."""
        clients.pop(point.party, None)
        if point.party in at.clients:
            clients[point.party] = at.clients[point.party]
        replies = {name: reply for name, reply in at.replies.items() if name != point.party}
        try:
            replies[point.party] = self._answer(point.party, at.name, at.asked[point.party], clients)
        except RingfortError:
            clients.pop(point.party, None)
        try:
            self._rest(self._heard(at, replies, point, b""), clients, on=True)
        except RingfortError:
            return

    def _heard(
        self, at: _Stage, replies: Mapping[ClientId, bytes], point: _Point, message: bytes
    ) -> ServerPhase | Opened:
        if at.phase is None:
            return self.parties.server.begin(self.of, replies, self.parties.decide)
        phase = at.phase
        if at.name == "shared/open" and point.to_server:  # a liar commits to what it will open
            phase = _committed_to(phase, point.party, message)
        return phase.on_replies(replies)

    def _rest(self, phase: ServerPhase | Opened, clients: dict[ClientId, ClientPhase], *, on: bool) -> object:
        for _ in range(_STAGES_AT_MOST):
            if isinstance(phase, Opened):
                _require_sound(phase, set(self._names))
                return phase
            ask: Ask = phase.ask
            assert all(type(payload) is bytes for payload in ask.payloads.values())  # noqa: S101  # for a wire
            if not on:
                return phase
            phase = phase.on_replies(self._answers(ask, clients))
        raise AssertionError(f"after {_STAGES_AT_MOST} stages the server is still asking")

    def _answers(self, ask: Ask, clients: dict[ClientId, ClientPhase]) -> dict[ClientId, bytes]:
        replies = {}
        for name, payload in ask.payloads.items():
            if name in clients or name in self.parties.helpers:
                try:
                    replies[name] = self._answer(name, ask.stage, payload, clients)
                except RingfortError:
                    continue
        return replies

    def _grown(self, raw: bytes, deep: int = 0) -> Node:
        """Taken apart, as far as it can be put together again."""
        for take in (self._envelope, self._map, self._bundle, self._two, self._sealed):
            found = take(raw)
            if found is None or deep > _DEEPEST:
                continue
            parts, join, free = found
            if parts and join(parts) == raw:
                return Node(raw, {name: self._grown(part, deep + 1) for name, part in parts.items()}, join, free)
        return Node(raw)

    def _envelope(self, raw: bytes) -> _Taken | None:
        if raw[:4] != b"RFE1":
            return None
        start = 70 + int.from_bytes(raw[4:6], "big")
        header = plain_map(raw[6 : start - 64])
        slot = Slot(header["run"], header["round"], header["stage"], header["context"])
        key, sender = self.parties.keys[header["sender"]], header["sender"]
        return {"body": raw[start:]}, lambda parts: seal_envelope(key, sender, slot, parts["body"]), False

    def _map(self, raw: bytes) -> _Taken | None:
        try:
            entries = {str(name): entry for name, entry in unpack(raw).items()}
            return entries, lambda parts: pack({ClientId(name): part for name, part in parts.items()}), True
        except RingfortError:
            return None

    def _bundle(self, raw: bytes) -> _Taken | None:
        try:
            return {str(name): bytes(part) for name, part in unbundle(raw).items()}, _bundled, True
        except RingfortError:
            return None

    def _two(self, raw: bytes) -> _Taken | None:
        try:
            first, rest = unframe(raw)
        except RingfortError:
            return None
        if self._grown(bytes(first), _DEEPEST).parts or _is_map(bytes(first)):
            return {"first": bytes(first), "rest": bytes(rest)}, lambda p: framed(p["first"], p["rest"]), False
        return None

    def _sealed(self, raw: bytes) -> _Taken | None:
        """Boxes of which it is known what was put in them: what lies before one, in it, and after it."""
        sealed = next((sealed for sealed in self._boxes if sealed in raw), None)
        if sealed is None:
            return None
        key, plaintext, bound = self._boxes[sealed]
        before, _, after = raw.partition(sealed)

        def join(parts: Mapping[str, bytes]) -> bytes:
            same = parts["box"] == plaintext
            box = sealed if same else aead.seal(key, parts["box"], bound, SecureRandom())
            return parts["before"] + box + parts["after"]

        return {"before": before, "box": plaintext, "after": after}, join, False


_Taken = tuple[dict[str, bytes], Callable[[Mapping[str, bytes]], bytes], bool]


def _bundled(parts: Mapping[str, bytes]) -> bytes:
    return bundle({ClientId(name): part for name, part in parts.items()})


def _is_map(raw: bytes) -> bool:
    try:
        return bool(plain_map(raw))
    except RingfortError:
        return False


def _committed_to(phase: Any, party: ClientId, message: bytes) -> ServerPhase:
    from ringfort.secagg.shared.messages import SERVERS

    if message[:4] != b"RFE1":
        return phase  # type: ignore[no-any-return]
    opening = message[70 + int.from_bytes(message[4:6], "big") :]
    committed = {**phase.committed, SERVERS.index(party) + 1: hashlib.sha256(opening).digest()}
    return replace(phase, committed=committed)  # type: ignore[no-any-return]


def _require_sound(opened: Opened, clients: set[ClientId]) -> None:
    """Whatever was forged: a view of finite numbers, of clients that are there."""
    view = opened.view
    numbers = (view.total,) if isinstance(view, Total) else tuple(view.blocks(64)) if isinstance(view, Rows) else ()
    assert all(np.isfinite(part).all() for part in numbers)  # noqa: S101 - the property under test
    assert {name for members in opened.members.values() for name in members} <= clients  # noqa: S101


@contextmanager
def _noting(boxes: dict[bytes, _Box]) -> Iterator[None]:
    """While a round runs: which plaintext and key is behind each sealed box."""
    from ringfort.secagg.encrypted import client as encrypted
    from ringfort.secagg.masked import client as masked
    from ringfort.secagg.shared import client as shared

    def note(key: bytes, plaintext: bytes, bound: bytes, random: SecureRandom) -> bytes:
        sealed = aead.seal(key, plaintext, bound, random)
        boxes[sealed] = key, plaintext, bound
        return sealed

    modules: tuple[Any, ...] = (encrypted, masked, shared)
    for module in modules:
        module.seal = note
    try:
        yield
    finally:
        for module in modules:
            module.seal = aead.seal
