"""A finding: what a drill, an audit or a check has to say, in the one form that every report and CI system reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

__all__ = ["Finding", "Measured", "Severity", "Status", "Taxonomy", "grade", "worst_first"]


class Severity(Enum):
    """How much of the protection is gone, if the finding stands."""

    CRITICAL = "critical"
    """The model or the data is the attacker's."""
    HIGH = "high"
    """The claim does not hold."""
    MEDIUM = "medium"
    """The claim is weaker than it reads, or holds under an assumption that is not met here by itself."""
    LOW = "low"
    """Worth knowing before it grows."""
    INFO = "info"
    """What the setting really gives."""

    def reaches(self, least: Severity) -> bool:
        """Whether it is at least as severe.

        >>> Severity.HIGH.reaches(Severity.MEDIUM), Severity.LOW.reaches(Severity.MEDIUM)
        (True, False)
        """
        order = list(Severity)
        return order.index(self) <= order.index(least)


class Status(Enum):
    """What was found out. Nothing but PASS ever counts as a pass."""

    FAIL = "fail"
    PASS = "pass"  # noqa: S105 - not a password
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Where others file the same thing. The mapping is Ringfort's; none of these lists speaks of federations.

    Args:
        atlas: MITRE ATLAS technique ids.
        owasp: OWASP Machine Learning Security Top 10 (2023) ids.
        nist: sections of NIST AI 100-2 (2023).
    """

    atlas: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()
    nist: tuple[str, ...] = ()

    def ids(self) -> tuple[str, ...]:
        """All of them, for people."""
        return (*self.atlas, *self.owasp, *(f"NIST AI 100-2 section {section}" for section in self.nist))


@dataclass(frozen=True, slots=True)
class Measured:
    """The number that decided.

    Args:
        metric: what it is, in words.
        value: the mean over seeds.
        low: the smallest seen.
        high: the largest seen.
        threshold: what was allowed; None where nothing was.
        baseline: the same without an attack, or by chance; None if unknown.
    """

    metric: str
    value: float
    low: float
    high: float
    threshold: float | None = None
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Args:
        check: a stable short name.
        severity: how much of the protection is gone.
        what: what was seen.
        why: what follows from it.
        fix: what to do.
        where: file and line, empty if there is none.
        status: what was found out.
        attack: the attack's registered name, empty where none was run.
        defence: the wall with its parameters, empty where none is meant.
        measured: the numbers that decided.
        seeds: of the runs behind it.
        clients: affected.
        command: what makes it again.
        taxonomy: ids of others.
        limits: what it does not say.
        evidence: files and their SHA-256, as "sha256:HEX NAME".
    """

    check: str
    severity: Severity
    what: str
    why: str
    fix: str
    where: str = ""
    status: Status = Status.FAIL
    attack: str = ""
    defence: str = ""
    measured: tuple[Measured, ...] = ()
    seeds: tuple[int, ...] = ()
    clients: tuple[str, ...] = ()
    command: str = ""
    taxonomy: Taxonomy = Taxonomy()
    limits: str = ""
    evidence: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"severity": self.severity.value, "status": self.status.value}


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Failures first, the most severe of them first; then what has no result, then what passed."""
    severities = list(Severity)
    statuses = [Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.PASS]
    return tuple(sorted(findings, key=lambda f: (statuses.index(f.status), severities.index(f.severity))))


def grade(findings: Iterable[Finding]) -> str:
    """The overall grade: that of the worst finding, so that nothing is averaged away.

    >>> grade([])
    'inconclusive'
    """
    found = worst_first(findings)
    if not found:
        return str(Status.INCONCLUSIVE.value)
    worst = found[0]
    return str((worst.severity if worst.status is Status.FAIL else worst.status).value)
