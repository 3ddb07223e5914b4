"""What is held against a client, and for it: a Beta reputation with forgetting, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfort.core.checks import whole
from ringfort.core.context import Memory
from ringfort.core.errors import InvalidValue
from ringfort.core.values import ClientId, Evidence
from ringfort.detect.table import Table

__all__ = ["NEWCOMER", "Reputation", "Standing", "Standings", "Transition"]


class Standing(Enum):
    """Where a client stands. The numbers are what is saved: never renumber."""

    NEW = 0
    TRUSTED = 1
    WATCHED = 2
    QUARANTINED = 3
    PROBATION = 4
    REVOKED = 5


@dataclass(frozen=True, slots=True)
class Reputation:
    """One client's record.

    Args:
        standing: where it stands.
        good: the weight of rounds in which it looked usual, with a prior of 1.
        bad: the weight of rounds in which it did not, with a prior of 1.
        rounds: in how many rounds it was judged since its standing changed.
        terms: how often it was quarantined.
        until: the first round after its quarantine.
    """

    standing: Standing = Standing.NEW
    good: float = 1.0
    bad: float = 1.0
    rounds: int = 0
    terms: int = 0
    until: int = 0

    @property
    def expectation(self) -> float:
        """The share of good rounds, good / (good + bad), in (0, 1)."""
        return self.good / (self.good + self.bad)

    @property
    def uncertainty(self) -> float:
        """2 / (good + bad) as in subjective logic, at most 1: how little is known."""
        return min(1.0, 2 / (self.good + self.bad))

    def judged(self, bad: bool, forgetting: float) -> Reputation:
        """After one more round; the past counts `forgetting` times as much as before."""
        return replace(
            self,
            good=forgetting * self.good + (not bad),
            bad=forgetting * self.bad + bad,
            rounds=0 if bad and self.standing is Standing.PROBATION else self.rounds + 1,
        )

    def now(self, standing: Standing) -> Reputation:
        """The same record in another standing."""
        return replace(self, standing=standing, rounds=0)

    def jailed(self, until: int) -> Reputation:
        """In quarantine for one term more."""
        return replace(self, standing=Standing.QUARANTINED, rounds=0, terms=self.terms + 1, until=until)


NEWCOMER: Final = Reputation()


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a client's standing, with everything that it rests on.

    Args:
        client: about whom.
        round: when.
        before: where it stood.
        after: where it stands.
        reasons: in words.
        evidence: what the detectors had measured; empty if a person decided.
    """

    client: ClientId
    round: int
    before: Standing
    after: Standing
    reasons: tuple[str, ...]
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Standings:
    """The records of all clients that were ever judged. State in, state out.

    Args:
        table: one row per client, 101 bytes.
    """

    table: Table = field(repr=False)

    @classmethod
    def read(cls, memory: Memory) -> Standings:
        """The records that `memory` holds; none, if it is empty."""
        blank: dict[str, NDArray[Any]] = {
            "standing": np.array(NEWCOMER.standing.value, dtype=np.uint8),
            "good": np.array(NEWCOMER.good),
            "bad": np.array(NEWCOMER.bad),
            "rounds": np.array(0, dtype=np.int32),
            "terms": np.array(0, dtype=np.int32),
            "until": np.array(0, dtype=np.int64),
        }
        return cls(Table.read(memory, blank))

    def memory(self) -> Memory:
        """For the next round."""
        return self.table.memory()

    @property
    def clients(self) -> tuple[ClientId, ...]:
        """Everybody with a record, by name."""
        return self.table.clients

    def of(self, clients: tuple[ClientId, ...]) -> tuple[Reputation, ...]:
        """The records of these clients; a newcomer's for whoever has none."""
        rows = self.table.rows(clients)
        return tuple(
            Reputation(Standing(int(s)), float(good), float(bad), int(rounds), int(terms), int(until))
            for s, good, bad, rounds, terms, until in zip(
                *(rows[name] for name in ("standing", "good", "bad", "rounds", "terms", "until")), strict=True
            )
        )

    def after(self, records: Mapping[ClientId, Reputation]) -> Standings:
        """With these records changed."""
        clients, found = tuple(records), tuple(records.values())
        columns = {name: [getattr(one, name) for one in found] for name in ("good", "bad", "rounds", "terms", "until")}
        columns["standing"] = [one.standing.value for one in found]
        rows = {name: np.array(values, dtype=self.table.blank[name].dtype) for name, values in columns.items()}
        return Standings(self.table.after(clients, rows))

    def counts(self) -> dict[Standing, int]:
        """How many stand where; only standings that somebody has."""
        values, counts = np.unique(self.table.columns["standing"], return_counts=True)
        return {Standing(int(value)): int(count) for value, count in zip(values, counts, strict=True)}

    def barred(self, round: int) -> frozenset[ClientId]:
        """Who is not to be asked in this round: the revoked, and the quarantined whose term has not ended."""
        standing = self.table.columns["standing"]
        jailed = (standing == Standing.QUARANTINED.value) & (self.table.columns["until"] > round)
        names = self.table.names[jailed | (standing == Standing.REVOKED.value)]
        return frozenset(ClientId(name.decode()) for name in names)

    def release(self, client: ClientId, reason: str, round: int) -> tuple[Standings, Transition]:
        """A person lets a quarantined or revoked client go: on probation, and that quarantine does not count.

        Raises:
            InvalidValue (RF104): it is neither, or no reason is given.
        """
        [before] = self.of((client,))
        if before.standing not in (Standing.QUARANTINED, Standing.REVOKED):
            raise InvalidValue(
                f"{client} is {before.standing.name.lower()}: only the quarantined and revoked are released"
            )
        return self._by_person(
            client, replace(before, terms=max(0, before.terms - 1)).now(Standing.PROBATION), reason, round
        )

    def quarantine(self, client: ClientId, reason: str, round: int, rounds: int) -> tuple[Standings, Transition]:
        """A person quarantines a client for so many rounds after this one.

        Raises:
            InvalidValue (RF104): it is revoked, no reason is given, or no rounds.
        """
        whole(1, rounds=rounds)
        [before] = self.of((client,))
        if before.standing is Standing.REVOKED:
            raise InvalidValue(f"{client} is revoked, which is more than quarantined: release it first")
        return self._by_person(client, before.jailed(round + rounds + 1), reason, round)

    def revoke(self, client: ClientId, reason: str, round: int) -> tuple[Standings, Transition]:
        """A person takes a client out for good; only a person can.

        Raises:
            InvalidValue (RF104): no reason is given.
        """
        [before] = self.of((client,))
        return self._by_person(client, before.now(Standing.REVOKED), reason, round)

    def _by_person(self, client: ClientId, now: Reputation, reason: str, round: int) -> tuple[Standings, Transition]:
        if not reason.strip():
            raise InvalidValue(f"a person's decision about {client} needs a reason, got none")
        whole(0, round=round)
        [before] = self.of((client,))
        transition = Transition(client, round, before.standing, now.standing, (f"by a person: {reason.strip()}",))
        return self.after({client: now}), transition
