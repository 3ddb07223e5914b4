"""Drives both halves of a seal in memory, with a hand on the wire between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ringfort.core.errors import OutOfOrder, RingfortError
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.randomness import SecureRandom
from ringfort.core.seal import (
    COORDINATOR,
    Ask,
    ClientPhase,
    ClientSeal,
    Contribution,
    Decide,
    Helper,
    Opened,
    Seal,
    SealedRound,
    ServerPhase,
    ServerSeal,
)
from ringfort.core.values import Aggregate, ClientId
from ringfort.core.views import GramView

__all__ = ["Message", "Parties", "SealedRun", "Tamper", "mean_of", "run_round"]

_STAGES_AT_MOST = 32


@dataclass(frozen=True, slots=True)
class Message:
    """One message on the wire, before the tamperer had it.

    Args:
        to_server: its direction.
        stage: "train" for hellos.
        party: the client or helper at the other end.
        payload: what was said.
    """

    to_server: bool
    stage: str
    party: ClientId
    payload: bytes = field(repr=False)


Tamper = Callable[[Message], bytes | None]
"""What arrives instead of a message; None: nothing does."""


def _as_it_is(message: Message) -> bytes | None:
    return message.payload


def mean_of(view: GramView) -> Aggregate:
    """A defence for tests: the plain mean."""
    import numpy as np

    weights = np.full(len(view.clients), 1 / len(view.clients))
    return Aggregate(view.combine(weights), view.clients, weights, "mean")


@dataclass(frozen=True, slots=True)
class Parties:
    """Everybody in a federation behind one seal, for as many rounds as a test wants.

    Args:
        seal: its parameters.
        keys: of everybody, the coordinator and helpers too.
        server: the coordinator's half.
        clients: by name.
        helpers: by name.
        decide: the defence.
    """

    seal: Seal
    keys: Mapping[ClientId, SigningKey]
    directory: Directory
    server: ServerSeal
    clients: Mapping[ClientId, ClientSeal]
    helpers: Mapping[ClientId, Helper]
    decide: Decide

    @classmethod
    def of(
        cls,
        seal: Seal,
        names: tuple[ClientId, ...],
        decide: Decide = mean_of,
        make: Callable[[Mapping[ClientId, bytes]], Directory] = Directory,
    ) -> Parties:
        """Fresh keys for all, in a directory that `make` makes, and their halves."""
        secure = SecureRandom()
        keys = {name: SigningKey(secure.token(32)) for name in (*names, *seal.helpers(), COORDINATOR)}
        directory = make({name: key.public for name, key in keys.items()})
        return cls(
            seal,
            keys,
            directory,
            seal.server(keys[COORDINATOR], directory),
            {name: seal.client(name, keys[name], directory) for name in names},
            {name: seal.helper(name, keys[name], directory, decide) for name in seal.helpers()},
            decide,
        )


@dataclass(frozen=True, slots=True)
class SealedRun:
    """What became of one sealed round.

    Args:
        opened: what the server saw, or None.
        abort: what the server raised instead.
        left: clients and helpers that refused a message, with what they raised.
        wire: every message as it was said, in order.
        phases: repr of every phase that was reached, on both sides.
    """

    opened: Opened | None
    abort: RingfortError | None
    left: Mapping[ClientId, Exception]
    wire: tuple[Message, ...] = field(repr=False)
    phases: tuple[str, ...] = field(repr=False)

    def said(self, party: ClientId) -> tuple[Message, ...]:
        """What left one party."""
        return tuple(m for m in self.wire if m.to_server and m.party == party)

    @property
    def stages(self) -> tuple[str, ...]:
        """In order, "train" first."""
        return tuple(dict.fromkeys(m.stage for m in self.wire))


def run_round(
    seal: Seal | Parties,
    contributions: Mapping[ClientId, Contribution],
    *,
    tamper: Tamper = _as_it_is,
    of: SealedRound | None = None,
    re_ask: bool = False,
) -> SealedRun:
    """One sealed round in memory.

    Args:
        seal: its parameters, or parties that met before.
        contributions: of the clients that finished training.
        tamper: sees and replaces every message.
        of: the round; by default round 1 of a run named "run".
        re_ask: ask every client everything twice, and note in `left` whoever answers twice.
    """
    parties = seal if isinstance(seal, Parties) else Parties.of(seal, tuple(contributions))
    d = len(next(iter(contributions.values())).delta)
    return _Driver(parties, of or SealedRound("run", 1, "ab" * 32, d), tamper, re_ask).run(contributions)


class _Driver:
    def __init__(self, parties: Parties, of: SealedRound, tamper: Tamper, re_ask: bool) -> None:
        self.parties, self.of, self.tamper, self.re_ask = parties, of, tamper, re_ask
        self.at: dict[ClientId, ClientPhase] = {}
        self.left: dict[ClientId, Exception] = {}
        self.wire: list[Message] = []
        self.phases: list[str] = []

    def run(self, contributions: Mapping[ClientId, Contribution]) -> SealedRun:
        opened, abort = None, None
        try:
            opened = self._serve(self._hellos(contributions))
        except RingfortError as error:
            abort = error
        return SealedRun(opened, abort, self.left, tuple(self.wire), tuple(self.phases))

    def _hellos(self, contributions: Mapping[ClientId, Contribution]) -> dict[ClientId, bytes]:
        hellos = {}
        for name, contribution in contributions.items():
            self.at[name], hello = self.parties.clients[name].begin(self.of, contribution)
            self.phases.append(repr(self.at[name]))
            if (arrived := self._over(Message(True, "train", name, hello))) is not None:
                hellos[name] = arrived
        return hellos

    def _serve(self, hellos: Mapping[ClientId, bytes]) -> Opened:
        phase: ServerPhase | Opened = self.parties.server.begin(self.of, hellos, self.parties.decide)
        for _ in range(_STAGES_AT_MOST):
            self.phases.append(repr(phase))
            if isinstance(phase, Opened):
                return phase
            phase = phase.on_replies(self._exchange(phase.ask))
        raise AssertionError(f"after {_STAGES_AT_MOST} stages the server is still asking")

    def _exchange(self, ask: Ask) -> dict[ClientId, bytes]:
        replies = {}
        for party, payload in ask.payloads.items():
            asked = self._over(Message(False, ask.stage, party, payload))
            if asked is None or party in self.left:
                continue
            try:
                reply = self._answer(party, ask.stage, asked)
            except Exception as error:
                self.left[party] = error
                self.at.pop(party, None)
                continue
            if reply is not None and (arrived := self._over(Message(True, ask.stage, party, reply))) is not None:
                replies[party] = arrived
        return replies

    def _answer(self, party: ClientId, stage: str, asked: bytes) -> bytes | None:
        if party in self.parties.helpers:
            return self.parties.helpers[party].handle(stage, asked)
        if party not in self.at:
            return None
        phase = self.at.pop(party)
        following, reply = phase.on_message(asked)
        if self.re_ask:
            self._again(party, phase, asked)
        if following is not None:
            self.at[party] = following
            self.phases.append(repr(following))
        return reply

    def _again(self, party: ClientId, phase: ClientPhase, asked: bytes) -> None:
        try:
            phase.on_message(asked)
        except OutOfOrder:
            return
        self.left[party] = AssertionError(f"{party} answered {phase.stage} twice")

    def _over(self, message: Message) -> bytes | None:
        self.wire.append(message)
        return self.tamper(message)
