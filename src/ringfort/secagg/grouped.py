"""The `grouped` seal: random groups, masked inside, so that the server sees one mean per group."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ringfort.core.checks import whole
from ringfort.core.errors import BelowFloor, Incompatible, ProtocolAbort, TooFewAlive, UnknownClient
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.seal import (
    COORDINATOR,
    Ask,
    ClientPhase,
    ClientSeal,
    Contribution,
    Decide,
    Helper,
    IntegerNoise,
    Opened,
    SealedRound,
    ServerPhase,
    ServerSeal,
    Shows,
)
from ringfort.core.values import F32, ClientId, Refusal, client_id
from ringfort.core.views import Rows, Total
from ringfort.secagg.masked import Masked
from ringfort.secagg.roster import refusal, require_enrolled

__all__ = ["Grouped", "groups_of"]


@dataclass(frozen=True, slots=True)
class Grouped:
    """The server sees the mean of each group of clients, and robust rules run over these means.

    Groups are drawn over all enrolled clients from the run's name and the epoch, so every client computes its own and
    nobody can move it. Inside a group runs the `masked` seal, with the group's members as its only directory.

    Args:
        group_size: clients of a group, at least; as many groups are made as it allows.
        epoch_rounds: rounds for which groups stay as they are. Group sums of one epoch never overlap in part; each new
            epoch gives the server sums over other subsets of the same clients. The whole run is the safest choice.
        clip: as in `Masked`.
        bits: as in `Masked`.
        corrupt_fraction: of a group's clients, as in `Masked`.
        dropout_fraction: of a group's clients, as in `Masked`.
        min_group: no mean of fewer clients is ever opened, >= 3: the client's floor.
        rotate: as in `Masked`.
        noise: as in `Masked`; each group's mean then carries only its own members' noise.

    Guarantees:
        Inside a group those of `Masked` with min_cohort = min_group: the server sees its sum or nothing.
        A client answers for one group in an epoch, the one that it computes itself. A group that cannot finish is
        left out of the view, never merged with another.

    Raises:
        InvalidValue (RF104): a number outside its range, group_size below min_group.

    Does not protect against: more than f hostile groups, where f is the rule's: f counts *groups*, and one hostile
        client spoils its group's mean, so f hostile clients need a rule that bears f groups. What the mean of few
        clients tells: the anonymity set is the group. Differences between epochs: a client whose updates change slowly
        is in the sums of many subsets, from which it can be solved for. A server that picks the run's name can try
        names until its accomplices share a client's group; corrupt_fraction says how many a group bears.

    Cost: that of `Masked` on group_size clients.

    Source: He, Karimireddy, Jaggi 2020, arXiv:2006.04747 (bucketing under aggregation); So et al. 2023,
        arXiv:2106.03328 (what subsets that change from round to round give away).
    """

    group_size: int
    epoch_rounds: int
    clip: float
    bits: int
    corrupt_fraction: float
    dropout_fraction: float
    min_group: int
    rotate: bool = False
    noise: IntegerNoise | None = None
    name: ClassVar[str] = "grouped"
    shows: ClassVar[Shows] = "rows"

    def __post_init__(self) -> None:
        whole(1, epoch_rounds=self.epoch_rounds)
        inside = self.inside
        whole(inside.min_cohort, group_size=self.group_size)

    @property
    def inside(self) -> Masked:
        """The seal of one group."""
        return Masked(
            self.clip,
            self.bits,
            self.corrupt_fraction,
            self.dropout_fraction,
            self.min_group,
            rotate=self.rotate,
            noise=self.noise,
        )

    def require(self, n: int, d: int) -> None:
        """Refuse fewer clients than two groups have, and what `Masked` refuses for a group of any size that occurs.

        Raises:
            BelowFloor (RF501), Incompatible (RF103): names what does not fit.
        """
        if n < 2 * self.group_size:
            raise BelowFloor(f"{n} clients do not make two groups of {self.group_size}: lower group_size or use masked")
        for size in {n // (n // self.group_size), -(-n // (n // self.group_size))}:
            self.inside.require(size, d)

    def rows(self, n: int) -> int:
        """One name per group, if all n clients are enrolled."""
        return n // self.group_size

    def server(self, key: SigningKey, directory: Directory) -> ServerSeal:
        """The coordinator's half; it signs as "coordinator"."""
        require_enrolled(directory, COORDINATOR)
        return _Server(self, key, directory)

    def client(self, me: ClientId, key: SigningKey, directory: Directory) -> ClientSeal:
        """A client's half."""
        require_enrolled(directory, me, COORDINATOR)
        return _Client(self, me, key, directory)

    def helpers(self) -> tuple[ClientId, ...]:
        """None."""
        return ()

    def helper(self, me: ClientId, key: SigningKey, directory: Directory, decide: Decide) -> Helper:  # noqa: ARG002
        """There is none."""
        raise Incompatible(f"the grouped seal has no helpers, so {me!r} cannot be one")

    def epoch(self, of: SealedRound) -> int:
        """From 0."""
        return (of.round - 1) // self.epoch_rounds


def groups_of(seal: Grouped, of: SealedRound, directory: Directory) -> dict[ClientId, tuple[ClientId, ...]]:
    """Every enrolled client's group in the epoch of a round: names "group-00", ... to members, in order.

    Clients are ordered by SHA-256 of run, epoch and name, and cut into floor(n / group_size) groups whose sizes differ
    by one at most.

    Raises:
        BelowFloor (RF501): fewer clients than one group has.
    """
    clients = [name for name in directory if name != COORDINATOR]
    count = len(clients) // seal.group_size
    if not count:
        raise BelowFloor(f"{len(clients)} enrolled clients are fewer than a group of {seal.group_size}")
    salt = hashlib.sha256(f"ringfort groups v1\x00{of.run}\x00{seal.epoch(of)}".encode()).digest()
    drawn = sorted(clients, key=lambda name: hashlib.sha256(salt + name.encode()).digest())
    return {client_id(f"group-{i:02d}"): tuple(sorted(drawn[i::count])) for i in range(count)}


class _Client:
    """A client in its group: a `masked` client whose directory ends at the group's edge."""

    __slots__ = ("_at", "_directory", "_key", "_me", "_seal", "_within")

    def __init__(self, seal: Grouped, me: ClientId, key: SigningKey, directory: Directory) -> None:
        self._seal, self._me, self._key, self._directory = seal, me, key, directory
        self._at: tuple[str, int] | None = None
        self._within: ClientSeal | None = None

    def begin(self, of: SealedRound, contribution: Contribution) -> tuple[ClientPhase, bytes]:
        """As `masked` does, among the members of this client's group."""
        at = of.run, self._seal.epoch(of)
        if self._within is None or at != self._at:
            groups = groups_of(self._seal, of, self._directory)
            members = next(members for members in groups.values() if self._me in members)
            self._at = at
            self._within = self._seal.inside.client(self._me, self._key, self._directory.only((*members, COORDINATOR)))
        return self._within.begin(of, contribution)

    def __repr__(self) -> str:
        return f"GroupedClient({self._me!r})"


@dataclass(frozen=True, slots=True)
class _Server:
    seal: Grouped
    key: SigningKey
    directory: Directory

    def begin(self, of: SealedRound, hellos: Mapping[ClientId, bytes], decide: Decide) -> ServerPhase:
        """All groups at once, stage by stage."""
        groups = groups_of(self.seal, of, self.directory)
        phases: dict[ClientId, ServerPhase | Opened] = {}
        unfinished = {}
        for group, members in groups.items():
            server = self.seal.inside.server(self.key, self.directory.only((*members, COORDINATOR)))
            try:
                phases[group] = server.begin(of, _only(hellos, members), decide)
            except (ProtocolAbort, Incompatible) as error:
                unfinished[group] = error
        strangers = sorted(set(hellos) - {name for members in groups.values() for name in members})
        unknown = UnknownClient("not-enrolled", "nobody of that name is in a group")
        refusals = tuple(refusal(name, unknown) for name in strangers)
        return _Groups(groups, _running(phases, unfinished), refusals, unfinished)


def _only(replies: Mapping[ClientId, bytes], members: tuple[ClientId, ...]) -> dict[ClientId, bytes]:
    return {name: replies[name] for name in members if name in replies}


def _running(
    phases: Mapping[ClientId, ServerPhase | Opened], unfinished: Mapping[ClientId, Exception]
) -> dict[ClientId, ServerPhase]:
    """The groups that go on. All are at one stage, for all began together.

    Raises:
        TooFewAlive (RF504): none does.
    """
    running = {group: phase for group, phase in phases.items() if not isinstance(phase, Opened)}
    if not running:
        reason = next(iter(unfinished.values()))
        raise TooFewAlive(f"none of {len(unfinished)} groups could go on; the first said: {reason}")
    return running


@dataclass(frozen=True, slots=True)
class _Groups:
    """All groups that are still in the round, at one stage."""

    groups: Mapping[ClientId, tuple[ClientId, ...]]
    phases: Mapping[ClientId, ServerPhase]
    refusals: tuple[Refusal, ...]
    unfinished: Mapping[ClientId, Exception] = field(repr=False)

    @property
    def ask(self) -> Ask:
        """What every group's coordinator asks."""
        asks = [phase.ask for phase in self.phases.values()]
        return Ask(asks[0].stage, {name: payload for ask in asks for name, payload in ask.payloads.items()})

    def on_replies(self, replies: Mapping[ClientId, bytes]) -> ServerPhase | Opened:
        """Each group goes on by itself; one that cannot is left out."""
        following: dict[ClientId, ServerPhase | Opened] = {}
        unfinished = dict(self.unfinished)
        for group, phase in self.phases.items():
            try:
                following[group] = phase.on_replies(_only(replies, self.groups[group]))
            except ProtocolAbort as error:
                unfinished[group] = error
        opened = {group: phase for group, phase in following.items() if isinstance(phase, Opened)}
        if opened:
            return _means(opened, self.refusals)
        return _Groups(self.groups, _running(following, unfinished), self.refusals, unfinished)


def _means(opened: Mapping[ClientId, Opened], refusals: tuple[Refusal, ...]) -> Opened:
    names = tuple(sorted(opened))
    members, rows = {}, []
    for name in names:
        view = opened[name].view
        assert isinstance(view, Total)  # noqa: S101  # inside a group runs `masked`
        members[name] = view.clients
        rows.append(_mean(view))
        refusals += opened[name].refusals
    return Opened(Rows(names, np.stack(rows)), members, refusals)


def _mean(view: Total) -> F32:
    mean: F32 = view.total / np.float32(len(view.clients))
    return mean
