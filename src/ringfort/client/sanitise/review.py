"""The list of rows that were set aside, for the owner of the data to go through."""

from __future__ import annotations

import csv
import io
from typing import Final

from ringfort.client.sanitise.sanitiser import Report

__all__ = ["review_csv"]

_FORMULA: Final = tuple("=+-@\t\r\n")


def review_csv(report: Report) -> str:
    r"""One line per row and reason: row, label, check, score, note, decision. `decision` is empty: it is the owner's.

    Guarantees:
        No cell starts a formula in a spreadsheet: one that would gets an apostrophe in front (a class can be named
        `=cmd|...`). Control characters become spaces. Row numbers count from 0 in the data as they were given.

    >>> from ringfort.client.sanitise.sanitiser import Reason, Suspect
    >>> one = Suspect(7, "=1+1", (Reason("exact-duplicates", 1.0, "a copy"),))
    >>> print(review_csv(Report("d", "", ("exact-duplicates",), 9, (one,), (9,), (8,), ())).splitlines()[1])
    7,'=1+1,exact-duplicates,1,a copy,
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("row", "label", "check", "score", "note", "decision"))
    for suspect in report.suspects:
        for reason in suspect.reasons:
            cells = (suspect.label, reason.check, f"{reason.score:.6g}", reason.note)
            writer.writerow((suspect.row, *map(_guarded, cells), ""))
    return out.getvalue()


def _guarded(text: str) -> str:
    guard = "'" if text.startswith(_FORMULA) and not _number(text) else ""
    return guard + "".join(c if c.isprintable() else " " for c in text)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
