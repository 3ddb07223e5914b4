"""What a client said, and the server's receipts for it: the client's side of the record."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import RingfortError
from ringfort.core.files import canonical_json
from ringfort.core.lines import append_in_turn, last_lines
from ringfort.engine.signed.said import Said
from ringfort.identity.messages import Place

__all__ = ["RECEIPTS_FILE", "Receipts"]

RECEIPTS_FILE: Final = "receipts.jsonl"
_LONGEST_LINE: Final = 1 << 20


class Receipts:
    """Answers and receipts, as lines of `receipts.jsonl`: `{"said": ...}`, and `{"receipt": hex}` for the one before.

    Args:
        folder: where the file is; None remembers the last answer only.

    Losing the file stops nothing: it is evidence. An answer without a receipt after it was never acknowledged.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / RECEIPTS_FILE
        self.last: Said | None = None
        """The last answer, until its receipt is here."""
        for line in last_lines(self._path, _LONGEST_LINE)[-1:] if self._path is not None else ():
            with contextlib.suppress(RingfortError, ValueError, RecursionError):  # another version's: never recognised
                before = json.loads(line)
                self.last = Said.from_json(before["said"]) if isinstance(before, dict) and "said" in before else None
        self.kept, self.refused = 0, 0
        """Receipts that were kept, and those that were for something else than the last answer."""

    def said(self, place: Place, head: bytes) -> None:
        """Remember an answer."""
        self.last = Said(place, head)
        self._append({"said": self.last.to_json()})

    def keep(self, receipt: bytes) -> None:
        """Keep the receipt, which was checked, for the last answer."""
        self._append({"receipt": receipt.hex()})
        self.last = None
        self.kept += 1

    def refuse(self) -> None:
        """Count a receipt that is not for the last answer."""
        self.refused += 1

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            append_in_turn(self._path, "receipts", canonical_json(line) + b"\n", durable=False)
