"""What follows from evidence. The only place with thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ringfort.core.checks import fraction, positive, whole
from ringfort.core.errors import InvalidValue
from ringfort.core.values import F64, Action, ClientId, Evidence
from ringfort.detect.combine import ever
from ringfort.detect.reputation import Reputation, Standing, Standings, Transition

__all__ = ["Decision", "Policy", "Ruling"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What happens to one client's update before any rule sees it.

    Args:
        client: whose.
        action: what happens.
        factor: what the update is multiplied by: 1 for ACCEPT, in (0, 1) for SCALE, 0 for EXCLUDE and QUARANTINE.
        reasons: in words.
    """

    client: ClientId
    action: Action
    factor: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided in one round.

    Args:
        rulings: one per client in view, in its order.
        standings: the records after the round.
        transitions: every change of a standing, in the view's order.
    """

    rulings: tuple[Ruling, ...]
    standings: Standings
    transitions: tuple[Transition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """From evidence and records to rulings.

    Args:
        alpha: in (0, 1): the share of honest clients that may ever be quarantined. No default: the operator decides.
        reputation: the detector whose p-values move the reputations. No default.
        suspicious: a p-value of at most this is a bad round.
        forgetting: in (0, 1): how much of a reputation is left after a round.
        trusted: the expectation from which an update counts fully.
        trial: rounds as a newcomer or watched before it may be trusted, and clean rounds on probation.
        term: rounds of the first quarantine; each further one is twice as long as the one before.
        newcomer: the factor of newcomers.
        probation: the factor on probation.
        newcomers: the share of a round's weight that all newcomers have together.
        cap: nobody's share of a round's weight is more than cap / n.

    Guarantees:
        Only what is promised (`Promise.THEOREM`, `Promise.CALIBRATED`) quarantines. If those promises hold, an honest
        client is ever quarantined with a chance of at most alpha, until its first release or probation.
        Reputation alone bans nobody: the worst it does is to scale an update down. Only a person revokes.
        A quarantined or revoked client has no influence, for the term's rounds.
        Nobody's factor is more than cap / n of all factors. Newcomers' factors together are at most `newcomers` of all,
        unless that would give somebody else more than that, or nobody else is there but clients on probation, as in a
        federation's first rounds.
        Every transition carries its reasons and evidence.

    Does not protect against: attackers whom no promised detector sees (their reputation stays good); an attacker who is
        good until it is trusted has a trusted client's weight until it is found; free names, beyond `newcomers`.

    Cost: O(clients in view), and a copy of the records.

    Source: Jøsang and Ismail 2002 (Beta reputation with forgetting); Vovk and Wang 2021 (combining).
    """

    alpha: float
    reputation: str
    suspicious: float = 0.1
    forgetting: float = 0.9
    trusted: float = 0.7
    trial: int = 5
    term: int = 10
    newcomer: float = 0.5
    probation: float = 0.25
    newcomers: float = 0.1
    cap: float = 2.0

    def __post_init__(self) -> None:
        shares = {
            "alpha": self.alpha,
            "suspicious": self.suspicious,
            "forgetting": self.forgetting,
            "trusted": self.trusted,
            "newcomer": self.newcomer,
            "probation": self.probation,
            "newcomers": self.newcomers,
        }
        fraction(**shares)
        positive(**shares)
        for name in ("alpha", "forgetting", "newcomers"):
            if shares[name] == 1:
                raise InvalidValue(f"{name} must be below 1, got 1")
        whole(1, trial=self.trial, term=self.term)
        positive(cap_above_1=self.cap - 1)

    def decide(
        self,
        clients: tuple[ClientId, ...],
        evidence: Iterable[Evidence],
        standings: Standings,
        round: int,
        promised: frozenset[str],
    ) -> Decision:
        """Rule on everybody in view.

        Args:
            clients: in view.
            evidence: of this round.
            standings: the records before.
            round: from 1.
            promised: the names of the detectors whose p-values may quarantine.
        """
        evidence = tuple(evidence)
        p_ever = ever(evidence, promised)
        judged = {one.client: one.p_value for one in evidence if one.detector == self.reputation}
        about: dict[ClientId, list[Evidence]] = {client: [] for client in clients}
        for one in evidence:
            about[one.client].append(one)
        records: dict[ClientId, Reputation] = {}
        transitions: list[Transition] = []
        for client, before in zip(clients, standings.of(clients), strict=True):
            now, changes = self._next(before, p_ever.get(client, 1.0), judged.get(client), round)
            records[client] = now
            was = before.standing
            for standing, reason in changes:
                transitions.append(Transition(client, round, was, standing, (reason,), tuple(about[client])))
                was = standing
        return Decision(self._rulings(records), standings.after(records), tuple(transitions))

    def _next(
        self, record: Reputation, p_ever: float, judged: float | None, round: int
    ) -> tuple[Reputation, list[tuple[Standing, str]]]:
        """The record after this round, and the changes of standing on the way, each with its reason."""
        if record.standing is Standing.REVOKED or self._jailed(record, round):
            return record, []
        changes: list[tuple[Standing, str]] = []
        if record.standing is Standing.QUARANTINED:
            record = record.now(Standing.PROBATION)
            changes.append((Standing.PROBATION, f"its quarantine ended before round {round}"))
        if judged is not None:
            record = record.judged(judged <= self.suspicious, self.forgetting)
        if p_ever <= self.alpha:
            until = round + 1 + self.term * 2 ** min(record.terms, 32)
            record = record.jailed(until)
            advice = "; its third: a person should decide whether to revoke it" if record.terms >= 3 else ""
            reason = f"evidence p = {p_ever:.2g} <= alpha = {self.alpha:g}; quarantined up to round {until - 1}{advice}"
            return record, [*changes, (Standing.QUARANTINED, reason)]
        standing, reason = self._standing(record, p_ever)
        if standing is not record.standing:
            changes.append((standing, reason))
            record = record.now(standing)
        return record, changes

    def _standing(self, record: Reputation, p_ever: float) -> tuple[Standing, str]:
        """Where a client that is not quarantined stands now, and why."""
        settled = record.standing is Standing.TRUSTED or record.rounds >= self.trial
        if not settled:
            return record.standing, ""
        if p_ever <= math.sqrt(self.alpha):
            return Standing.WATCHED, f"evidence p = {p_ever:.2g} <= sqrt(alpha) = {math.sqrt(self.alpha):.2g}"
        if record.expectation < self.trusted:
            return Standing.WATCHED, f"reputation {record.expectation:.2f} < {self.trusted:g}"
        return Standing.TRUSTED, f"reputation {record.expectation:.2f} >= {self.trusted:g}"

    @staticmethod
    def _jailed(record: Reputation, round: int) -> bool:
        return record.standing is Standing.QUARANTINED and round < record.until

    def _rulings(self, records: Mapping[ClientId, Reputation]) -> tuple[Ruling, ...]:
        out = (Standing.QUARANTINED, Standing.REVOKED)
        counting = {client: record for client, record in records.items() if record.standing not in out}
        factors = dict(zip(counting, self._factors(tuple(counting.values())), strict=True))
        return tuple(self._ruling(client, record, factors.get(client)) for client, record in records.items())

    @staticmethod
    def _ruling(client: ClientId, record: Reputation, factor: float | None) -> Ruling:
        standing = record.standing.name.lower()
        if factor is None:
            return Ruling(client, Action.QUARANTINE, 0.0, (standing,))
        if factor == 1:
            return Ruling(client, Action.ACCEPT, 1.0)
        return Ruling(client, Action.SCALE, factor, (f"{standing}, reputation {record.expectation:.2f}",))

    def _factors(self, records: tuple[Reputation, ...]) -> list[float]:
        """In (0, 1], the largest 1."""
        if not records:
            return []
        own = {Standing.NEW: self.newcomer, Standing.PROBATION: self.probation}
        factors = np.array([own.get(r.standing, 1.0) * min(1.0, r.expectation / self.trusted) for r in records])
        new = np.array([record.standing is Standing.NEW for record in records])
        trial = np.array([record.standing is Standing.PROBATION for record in records])
        old_sum, new_sum = float(factors[~new].sum()), float(factors[new].sum())
        if new_sum and not (new | trial).all():
            wanted = self.newcomers / (1 - self.newcomers) * old_sum
            needed = len(factors) * float(factors[~new].max()) / self.cap - old_sum
            factors[new] *= min(1.0, max(wanted, needed) / new_sum)
        factors = _capped(factors, self.cap)
        return [float(factor) for factor in factors / factors.max()]


def _capped(factors: F64, cap: float) -> F64:
    """The factors, the largest cut so that none is more than cap / n of their sum."""
    n = len(factors)
    ordered = np.sort(factors)[::-1]
    for k in range(n):
        if n <= cap * k:
            break
        rest = float(ordered[k:].sum())
        height = cap * rest / (n - cap * k)
        if ordered[k] <= height:
            return np.minimum(factors, height) if k else factors
    return factors
