"""All checks over one client's rows, and the limits on what may be set aside without a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import numpy as np

from ringfort.client.sanitise.check import Check, Signs
from ringfort.client.sanitise.duplicates import row_digests
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue, TooManySuspicious
from ringfort.core.values import I64

__all__ = ["Excess", "Reason", "Report", "Sanitiser", "Suspect"]

_SCHEMA: Final = "ringfort-sanitise/1"


class Excess(Enum):
    """What happens when more rows are suspicious than may be set aside without a person.

    In neither case is a suspicious row trained on.
    """

    STOP = "stop"
    """Nothing of this data set is used before a person has looked: TooManySuspicious (RF704)."""
    FLAG = "flag"
    """The rest is used, all suspicious rows are set aside, and the report asks for a person."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is suspicious.

    Args:
        check: who says so.
        score: how suspicious, on that check's own scale.
        note: in words.
    """

    check: str
    score: float
    note: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that was set aside.

    Args:
        row: its number in the data as they were given.
        label: its class's name.
        reasons: one or more, in the order of the checks.
    """

    row: int
    label: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What was set aside and why. For the owner of the data: it holds row numbers, labels and measures, no values.

    Args:
        data: the data set's name.
        digest: and its SHA-256.
        checks: the checks that ran.
        n_rows: rows that were given.
        suspects: rows that were set aside, by number.
        before: per class, rows that were given.
        after: per class, rows that were kept.
        excess: why a person must look before these data are used; empty if nobody needs to.
    """

    data: str
    digest: str
    checks: tuple[str, ...]
    n_rows: int
    suspects: tuple[Suspect, ...] = field(repr=False)
    before: tuple[int, ...]
    after: tuple[int, ...]
    excess: tuple[str, ...]

    @property
    def set_aside(self) -> I64:
        """Row numbers, sorted."""
        return np.array([suspect.row for suspect in self.suspects], dtype=np.int64)

    def by_check(self) -> dict[str, int]:
        """How many rows each check found suspicious; one row can count for several."""
        counts = Counter(reason.check for suspect in self.suspects for reason in suspect.reasons)
        return {check: counts[check] for check in self.checks}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under a versioned schema name."""
        return {
            "schema": _SCHEMA,
            "data": self.data,
            "digest": self.digest,
            "rows": self.n_rows,
            "set_aside": len(self.suspects),
            "by_check": self.by_check(),
            "before": list(self.before),
            "after": list(self.after),
            "excess": list(self.excess),
            "suspects": [
                {
                    "row": s.row,
                    "label": s.label,
                    "reasons": [{"check": r.check, "score": r.score, "note": r.note} for r in s.reasons],
                }
                for s in self.suspects
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Sanitiser:
    """Sets suspicious rows of one client aside for review. Nothing is deleted.

    A row is suspicious if any check says so. No suspicious row is kept; what may happen without a person is limited.

    Args:
        checks: one or more, none twice by name.
        max_set_aside: largest share of the rows that may be set aside without a person, in [0, 1].
        class_floor: a class that had this many rows or more must keep as many, or a person decides; 0 sets no floor.
        excess: what happens when one of the two is exceeded, or a check finds a problem with the data as a whole.

    Call:
        data: never written to. Returns the rows to train on, sorted (M,) int64, and the report.

    Guarantees:
        Every row is either kept or set aside. The order of rows plays no part: they are looked at in the order of
        their contents' SHA-256, so of equal rows any one may stay. Equal data give equal reports.

    Raises:
        TooManySuspicious (RF704): a limit is exceeded and `excess` is STOP; its `report` has all that was found.

    Does not protect against: the owner of the data. It runs beside them, and a hostile owner leaves it out.

    Cost: that of the checks, one copy of the data and one SHA-256 of them.
    """

    checks: tuple[Check, ...]
    max_set_aside: float
    class_floor: int
    excess: Excess

    def __post_init__(self) -> None:
        names = [check.name for check in self.checks]
        if not names or len(set(names)) != len(names):
            raise InvalidValue("a sanitiser needs one check or more, each once")
        fraction(max_set_aside=self.max_set_aside)
        whole(0, class_floor=self.class_floor)

    def __call__(self, data: Dataset, /) -> tuple[I64, Report]:
        """The rows to train on, and the report."""
        order = np.argsort(row_digests(data, labels=True), kind="stable").astype(np.int64)
        canonical = data.take(order)
        canonical.inputs.flags.writeable = canonical.labels.flags.writeable = False
        found = [check(canonical) for check in self.checks]
        suspects = self._suspects(data, order, found)
        keep = np.ones(len(data), dtype=np.bool_)
        keep[[suspect.row for suspect in suspects]] = False
        before = np.bincount(data.labels, minlength=len(data.classes))
        after = np.bincount(data.labels[keep], minlength=len(data.classes))
        report = Report(
            data=data.name,
            digest=data.digest(),
            checks=tuple(check.name for check in self.checks),
            n_rows=len(data),
            suspects=suspects,
            before=tuple(before.tolist()),
            after=tuple(after.tolist()),
            excess=(
                *(problem for signs in found for problem in signs.problems),
                *self._excess(data, len(suspects), before, after),
            ),
        )
        if report.excess and self.excess is Excess.STOP:
            raise TooManySuspicious(
                f"{'; '.join(report.excess)}: a person must look at what was found before these data are used", report
            )
        return np.flatnonzero(keep).astype(np.int64), report

    def try_out(self, data: Dataset) -> None:
        """Run every check on a few rows, so that one that does not fit the data is found before anything runs.

        Raises:
            Incompatible (RF103), MissingExtra (RF105).
        """
        some = data.take(np.arange(min(64, len(data))))
        for check in self.checks:
            check(some)

    def _suspects(self, data: Dataset, order: I64, found: Sequence[Signs]) -> tuple[Suspect, ...]:
        reasons: dict[int, list[Reason]] = {}
        for check, signs in zip(self.checks, found, strict=True):
            for place, note in signs.notes.items():
                reason = Reason(check.name, float(signs.scores[place]), note)
                reasons.setdefault(int(order[place]), []).append(reason)
        return tuple(Suspect(row, data.classes[data.labels[row]], tuple(reasons[row])) for row in sorted(reasons))

    def _excess(self, data: Dataset, suspicious: int, before: I64, after: I64) -> tuple[str, ...]:
        out = []
        if suspicious > self.max_set_aside * len(data):
            out.append(
                f"{suspicious} of {len(data)} rows are suspicious ({suspicious / len(data):.1%}), at most "
                f"{self.max_set_aside:.1%} may be set aside without a person"
            )
        low = np.flatnonzero((before >= self.class_floor) & (after < self.class_floor))
        if len(low):
            shown = ", ".join(f"{data.classes[c]!r} ({after[c]} of {before[c]})" for c in low[:5])
            out.append(
                f"too few rows would be left of {len(low)} class(es), under the floor of {self.class_floor}: {shown}"
            )
        return tuple(out)
