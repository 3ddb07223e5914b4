"""The conformance suites of checks and sanitisers: what each must do, whoever wrote it.

They raise AssertionError with a sentence. Third parties call them on their own checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringfort.client.sanitise import Check, Excess, Report, Sanitiser, Signs
from ringfort.core.dataset import Dataset
from ringfort.core.docs import section
from ringfort.core.randomness import Seeds
from ringfort.core.values import I64
from ringfort.testing._require import close, frozen, require

__all__ = ["check_check", "check_sanitiser"]

_SECTIONS: Final = ("Guarantees", "Does not protect against", "Cost")
_MIN_RECALL: Final = 0.8

Poison = Callable[[Dataset, np.random.Generator], tuple[Dataset, NDArray[np.bool_]]]
"""(rows, rng) -> (as many rows, which of them a check must find)."""


def check_check(
    check: Check,
    clean: Dataset,
    poison: Poison,
    *,
    min_recall: float = _MIN_RECALL,
    max_honest: float = 0.1,
    seed: int = 0,
) -> None:
    """Everything a check must do, on data it is made for.

    Documented sections; frozen; a name; one finite score per row; notes for rows that exist, each a sentence; never
    writes to the data; equal data give equal signs; data too few (none, one row, one label) raise nothing; and it
    works: of the rows that `poison` spoils it finds `min_recall`, of the clean ones it flags at most `max_honest`.

    Args:
        check: the object under test.
        clean: honest rows, 100 or more.
        poison: spoils some of them in the way that the check is for.
        min_recall: share of spoilt rows that it must find.
        max_honest: share of clean rows, in the clean data, that it may flag.
        seed: of the poison.

    Raises:
        AssertionError: with the first thing that is wrong.
    """
    kind = type(check)
    for name in _SECTIONS:
        require(bool(section(kind, name)), f"{kind.__name__}'s docstring has no section {name!r}")
    require(frozen(kind), "a check is a frozen dataclass")
    rng = Seeds(seed).child("check_check")
    spoilt, bad = poison(clean, rng)
    require(len(spoilt) == len(clean) and bool(bad.any()), "the poison spoils nothing: the test says nothing")
    honest = _signs(check, clean)
    require(len(honest.rows) <= max_honest * len(clean), f"it flags {len(honest.rows)} of {len(clean)} clean rows")
    found = _signs(check, spoilt)
    flagged = np.isin(np.flatnonzero(bad), found.rows).mean()
    require(flagged >= min_recall, f"it finds {flagged:.0%} of the spoilt rows, {min_recall:.0%} are asked for")
    again = _signs(check, spoilt)
    require(dict(again.notes) == dict(found.notes), "two calls on equal data differ: state outside the data?")
    close(again.scores, found.scores, "two calls on equal data give other scores")
    for rows in (np.arange(0), np.arange(1), np.flatnonzero(clean.labels == clean.labels[0])):
        _signs(check, clean.take(rows.astype(np.int64)))


def check_sanitiser(make: Callable[[Excess], Callable[[Dataset], tuple[I64, Report]]], rows: Dataset) -> None:
    """Everything a sanitiser must do, whatever its checks are.

    Every row is kept or set aside, none both, and every row that is set aside has a reason; never writes to the data;
    equal data give equal reports; in another order of rows, rows of the same contents are kept; nothing suspicious is
    kept in excess; STOP raises where FLAG reports.

    Args:
        make: makes the sanitiser, given what it does in excess.
        rows: data in which it finds something.

    Raises:
        AssertionError: with the first thing that is wrong.
    """
    flag = make(Excess.FLAG)
    before = rows.digest()
    kept, report = flag(rows)
    require(rows.digest() == before, "it wrote to the data")
    require(bool(len(report.suspects)), "it sets nothing aside: the test says nothing")
    _whole(kept, report, len(rows))
    again, second = flag(rows)
    require(np.array_equal(kept, again) and report == second, "two calls on equal data differ")
    order = Seeds(0).child("order").permutation(len(rows)).astype(np.int64)
    shuffled = rows.take(order)
    moved, other = flag(shuffled)
    _whole(moved, other, len(rows))
    require(_contents(rows, kept) == _contents(shuffled, moved), "the order of rows changes which are kept")
    require((report.before, report.after) == (other.before, other.after), "the order of rows changes the counts")
    try:
        _, stopped = make(Excess.STOP)(rows)
        raised = False
        require(not stopped.excess, "with STOP it returns rows though a person must look")
    except Exception as error:
        require(getattr(error, "code", "") == "RF704", f"it raised {type(error).__name__}: {error}")
        raised = True
    require(raised == bool(report.excess), "STOP and FLAG do not agree on whether a person must look")


def _whole(kept: I64, report: Report, n_rows: int) -> None:
    both = np.sort(np.concatenate([kept, report.set_aside]))
    require(np.array_equal(both, np.arange(n_rows)), "kept rows and those set aside are not all rows, each once")
    require(np.array_equal(kept, np.sort(kept)), "kept rows are not sorted")
    require(all(suspect.reasons for suspect in report.suspects), "a row is set aside without a reason")
    require(sum(report.before) == n_rows and sum(report.after) == len(kept), "the counts per class do not add up")


def _contents(rows: Dataset, kept: I64) -> list[bytes]:
    return sorted(rows.inputs[i].tobytes() + bytes(str(rows.labels[i]), "ascii") for i in kept)


def _signs(check: Check, data: Dataset) -> Signs:
    before = data.digest()
    try:
        found = check(data)
    except Exception as error:
        raise AssertionError(f"it raised {type(error).__name__} on {len(data)} rows: {error}") from error
    require(data.digest() == before, "it wrote to the data")
    require(found.scores.shape == (len(data),), "it does not give one score per row")
    require(bool(np.isfinite(found.scores).all()), "a score is not finite")
    rows: Sequence[int] = list(found.notes)
    require(all(0 <= row < len(data) for row in rows), "it notes rows that do not exist")
    require(all(found.notes.values()), "a note is empty")
    return found


def sanitiser_of(checks: tuple[Check, ...], max_set_aside: float, class_floor: int) -> Callable[[Excess], Sanitiser]:
    """What `check_sanitiser` wants, for our own class."""
    return lambda excess: Sanitiser(checks, max_set_aside, class_floor, excess)
