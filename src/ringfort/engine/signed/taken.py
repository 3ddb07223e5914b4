"""What the server took, on disk before a receipt says so; and the proofs of those who said two things.

taken.jsonl          one line for each answer that was taken: its place, and its signed head (no body)
equivocations.jsonl  one line for each proof
exchange.json        no later request has a smaller number than this, whatever the clock shows after a restart
"""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import BadCheckpoint, RingfortError
from ringfort.core.files import canonical_json, write_atomic
from ringfort.core.lines import append_in_turn, last_lines
from ringfort.core.values import ClientId
from ringfort.engine.signed.said import Said
from ringfort.identity.equivocation import EquivocationProof
from ringfort.identity.times import moment, stamp, utc

__all__ = ["EQUIVOCATIONS_FILE", "TAKEN_FILE", "TakenLog"]

TAKEN_FILE: Final = "taken.jsonl"
EQUIVOCATIONS_FILE: Final = "equivocations.jsonl"
_NUMBERS_FILE: Final = "exchange.json"
_TAIL: Final = 4 << 20
_AHEAD: Final = 3_600_000_000
"""How far ahead of the last number the file is, in microseconds: it is written about once an hour."""


class TakenLog:
    """The server's files about what was said to it.

    Args:
        folder: the run's; None keeps nothing.

    Raises:
        OutputUnwritable (RF107): no space, no permission. An answer that cannot be written down is not receipted.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._taken: list[dict[str, Any]] = []
        self._proofs: list[dict[str, Any]] = []
        self._number = self._ceiling = 0
        if folder is not None and (folder / _NUMBERS_FILE).exists():
            try:
                self._number = self._ceiling = int(json.loads((folder / _NUMBERS_FILE).read_bytes())["below"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise BadCheckpoint(f"{folder / _NUMBERS_FILE} cannot be read") from error

    def next_number(self, now: datetime) -> int:
        """Larger than every number before it, here and before a restart; about microseconds since 1970."""
        self._number = max(self._number + 1, int(utc(now).timestamp() * 1e6))
        if self._folder is not None and self._number >= self._ceiling:
            self._ceiling = self._number + _AHEAD
            write_atomic(self._folder / _NUMBERS_FILE, canonical_json({"v": 1, "below": self._ceiling}))
        return self._number

    def taken(self, client: ClientId, number: int, said: Said, at: datetime) -> None:
        """Note an answer to the request of this number; `flush` makes it durable."""
        if self._folder is not None:
            line = {"client": client, "number": number, "at": stamp(at), "said": said.to_json()}
            self._taken.append(line)

    def proof(self, proof: EquivocationProof, at: datetime) -> None:
        """Note a proof; `flush` makes it durable."""
        if self._folder is not None:
            self._proofs.append({**proof.to_json(), "at": stamp(at)})

    def flush(self) -> None:
        """Make everything noted durable."""
        for name, noted in ((TAKEN_FILE, self._taken), (EQUIVOCATIONS_FILE, self._proofs)):
            values, noted[:] = list(noted), []
            if values and self._folder is not None:
                lines = b"".join(canonical_json(value) + b"\n" for value in values)
                append_in_turn(self._folder / name, name.removesuffix(".jsonl"), lines)

    def last(self) -> dict[ClientId, tuple[Said, datetime]]:
        """Each client's last answer, as far as the last 4 MiB of the file tell; a line that is none is skipped."""
        out = {}
        for raw in last_lines(self._folder / TAKEN_FILE, _TAIL) if self._folder is not None else ():
            with contextlib.suppress(RingfortError, KeyError, TypeError, ValueError, RecursionError):
                line = json.loads(raw)
                out[ClientId(line["client"])] = (Said.from_json(line["said"]), moment(line["at"]))
        return out
