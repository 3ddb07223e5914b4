"""A helper: one of the two servers beside the coordinator. It answers six messages a round, in order, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ringfort.core.errors import MalformedUpdate, OutOfOrder
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.randomness import SecureRandom
from ringfort.core.seal import Decide
from ringfort.core.values import ClientId
from ringfort.secagg.shared.decision import Question, agree, decided, grid, guard
from ringfort.secagg.shared.messages import SERVERS, Seat, Transcript, decode_round, unbundle, unframe
from ringfort.secagg.shared.opening import opening_bytes
from ringfort.secagg.shared.round import (
    ANNOUNCEMENT_BYTES,
    Dealt,
    Floors,
    Measuring,
    Secrets,
    announce,
    deal,
    draw_coin,
    hellos_of,
    judge,
    list_bytes,
    settle,
)

__all__ = ["SharedHelper"]


class _Phase(Protocol):
    @property
    def stage(self) -> str: ...

    def on_message(self, message: bytes) -> tuple[_Phase | None, bytes]: ...


class SharedHelper:
    """Server 2 or 3, for one run.

    Args:
        number: which.
        key: its identity.
        directory: who has which key.
        parameters: of the seal, in canonical bytes.
        floors: what it insists on, for a number of parameters. Raises Incompatible if nothing fits.
        decide: its own copy of the defence.

    Guarantees:
        An announcement begins a round and ends the one before. A message for another stage, a second one, or one that
        any check refuses ends the round on this side: nothing more is said in it.
    """

    __slots__ = ("_decide", "_directory", "_floors", "_key", "_number", "_parameters", "_phase")

    def __init__(
        self,
        number: int,
        key: SigningKey,
        directory: Directory,
        parameters: bytes,
        floors: Callable[[int], Floors],
        decide: Decide,
    ) -> None:
        self._number, self._key, self._directory, self._parameters = number, key, directory, parameters
        self._floors, self._decide = floors, decide
        self._phase: _Phase | None = None

    def handle(self, stage: str, payload: bytes) -> bytes:
        """Answer one message of the coordinator.

        Raises:
            ProtocolAbort (RF5xx), AdmissionError (RF2xx), ToleranceExceeded (RF301): the round is over on this side.
        """
        phase, self._phase = self._phase, None
        if stage == "shared/announce":
            self._phase, reply = self._announce(payload)
            return reply
        if phase is None or phase.stage != stage:
            raise OutOfOrder(f"{SERVERS[self._number - 1]} does not answer {stage!r:.40} now: rounds go on in order")
        self._phase, reply = phase.on_message(payload)
        return reply

    def _announce(self, payload: bytes) -> tuple[_Phase, bytes]:
        described, rest = unframe(payload)
        of, hellos = decode_round(described), unbundle(rest)
        floors = self._floors(of.d)
        seat = Seat(self._number, self._key, self._directory, Transcript.start(of, self._parameters, self._directory))
        keys, refused = hellos_of(seat, hellos)
        if refused:
            raise MalformedUpdate("hello", f"the coordinator passes on a hello that is none: {refused[0].reason}")
        floors.require(len(keys))
        seat = Seat(self._number, self._key, self._directory, seat.at.then("hello", hellos))
        secrets, seat = announce(seat, SecureRandom())
        return _Announced(_Own(floors, self._decide, secrets), seat, keys), seat.said


@dataclass(frozen=True, slots=True)
class _Own:
    """What stays the same through a round."""

    floors: Floors
    decide: Decide
    secrets: Secrets = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Announced:
    """Has announced its key; waits for the other servers' announcements and the clients' shares."""

    own: _Own
    seat: Seat
    keys: Mapping[ClientId, bytes] = field(repr=False)
    stage: str = "shared/deal"

    def on_message(self, message: bytes) -> tuple[_Phase, bytes]:
        parts = unbundle(message)
        announced, seat = self.seat.hear("announce", parts, ANNOUNCEMENT_BYTES)
        shares = {name: part for name, part in parts.items() if name not in SERVERS}
        dealt = deal(seat, self.own.secrets, self.keys, shares)
        seat = seat.say("list", dealt.listing())
        return _Listed(self.own, seat, announced, dealt, list_bytes(len(self.keys))), seat.said


@dataclass(frozen=True, slots=True)
class _Listed:
    """Has said whose shares it holds; waits for the lists of all three."""

    own: _Own
    seat: Seat
    announced: Mapping[int, bytes] = field(repr=False)
    dealt: Dealt
    most: int
    stage: str = "shared/lists"

    def on_message(self, message: bytes) -> tuple[_Phase, bytes]:
        lists, seat = self.seat.hear("list", unbundle(message), self.most)
        names = settle(lists, self.own.floors)
        seat = seat.say("reveal", self.own.secrets.nonce)
        return _Revealed(self.own, seat, self.announced, self.dealt, names), seat.said


@dataclass(frozen=True, slots=True)
class _Revealed:
    """Has revealed its part of the coin; waits for the others' parts, then takes its products and sketches."""

    own: _Own
    seat: Seat
    announced: Mapping[int, bytes] = field(repr=False)
    dealt: Dealt
    names: tuple[ClientId, ...]
    stage: str = "shared/coin"

    def on_message(self, message: bytes) -> tuple[_Phase, bytes]:
        nonces, seat = self.seat.hear("reveal", unbundle(message), 32)
        coin = draw_coin(seat.at, self.announced, nonces)
        held = self.dealt.held(seat.number, self.names, seat.at.of.d)
        measuring = Measuring.start(seat, self.own.secrets, self.announced, held, self.names, coin)
        seat = seat.say("commit", measuring.commitment)
        return _Committed(self.own, seat, measuring), seat.said


@dataclass(frozen=True, slots=True)
class _Committed:
    """Has committed to its opening; waits for the others' commitments."""

    own: _Own
    seat: Seat
    measuring: Measuring
    stage: str = "shared/open"

    def on_message(self, message: bytes) -> tuple[_Phase, bytes]:
        committed, seat = self.seat.hear("commit", unbundle(message), 32)
        seat = seat.say("open", self.measuring.opening)
        return _Opened(self.own, seat, self.measuring, committed), seat.said


@dataclass(frozen=True, slots=True)
class _Opened:
    """Has opened its part; waits for the others' and the coordinator's weights, then opens its share of the sum."""

    own: _Own
    seat: Seat
    measuring: Measuring
    committed: Mapping[int, bytes] = field(repr=False)
    stage: str = "shared/sum"

    def on_message(self, message: bytes) -> tuple[None, bytes]:
        proposal, said = unframe(message)
        names, floors = self.measuring.names, self.own.floors
        opened, seat = self.seat.hear("open", unbundle(said), opening_bytes(len(names)))
        cohort = judge(names, self.committed, opened, floors)
        body = seat.read("weights", SERVERS[0], proposal, 8 * len(names))
        if len(body) != 8 * len(cohort.names):
            raise MalformedUpdate("weights", f"weights of {len(cohort.names)} clients have another size than these")
        proposed = np.frombuffer(body, "<i8")
        mine = grid(decided(self.own.decide, Question(cohort.names, seat.at.of.d, cohort.products)))
        guard(mine, floors.min_cohort, floors.max_weight)
        agree(mine, proposed, SERVERS[0])
        share = self.measuring.held.weighted(cohort.spread(proposed, len(names))).astype("<u8", copy=False).tobytes()
        return None, seat.say("sum", share if seat.number == 2 else hashlib.sha256(share).digest()).said
