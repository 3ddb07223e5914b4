"""What a client said, and the server's receipts for it: the client's side of the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ringfort.core.files import canonical_json
from ringfort.identity.messages import Place

__all__ = ["RECEIPTS_FILE", "Receipts", "Said"]

RECEIPTS_FILE: Final = "receipts.jsonl"


@dataclass(frozen=True, slots=True)
class Said:
    """One signed answer, without its body.

    Args:
        place: where it belongs.
        head: the envelope without its body; it names the body's digest.
    """

    place: Place
    head: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As a line of the file."""
        at = self.place
        return {
            "run": at.run,
            "round": at.round,
            "stage": at.stage,
            "model": at.model,
            "authority": at.authority.hex(),
            "request": at.request.hex(),
            "head": self.head.hex(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Said:
        """What `to_json` made."""
        place = Place(
            value["run"],
            value["round"],
            value["stage"],
            value["model"],
            bytes.fromhex(value["authority"]),
            bytes.fromhex(value["request"]),
        )
        return cls(place, bytes.fromhex(value["head"]))


class Receipts:
    """Answers and receipts, as lines of `receipts.jsonl`. Evidence for later: losing it stops nothing.

    Args:
        folder: where the file is; None remembers the last answer only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / RECEIPTS_FILE
        self.last: Said | None = None
        """The last answer, until its receipt is here."""
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
            with self._path.open("ab") as file:
                file.write(canonical_json(line) + b"\n")
