"""A file of signed lines, each naming the one before: append-only, one writer, readable while it is written.

A line is one canonical JSON object; `prev` is the SHA-256 of the whole line before it, signature included, and the
signature covers everything else in the line. So the last signature vouches for every line before it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import BadSignature, BrokenChain, OutputUnwritable, RingfortError
from ringfort.core.files import canonical_json
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.lines import LineFile, append_line, whole_lines
from ringfort.core.values import ClientId
from ringfort.identity.documents import exact, hexadecimal, read_document
from ringfort.identity.times import moment, stamp

__all__ = ["ChainReader", "ChainWriter", "Head", "Line", "read_lines"]

_DOMAIN: Final = b"ringfort registry v1\x00"
_MAX_LINE_BYTES: Final = 64 * 1024
_SIGNER: Final = ClientId("authority")


@dataclass(frozen=True, slots=True)
class Line:
    """One event: its number from 0, when, what kind, and what it says."""

    seq: int
    at: datetime
    kind: str
    body: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """How far a file was read: lines, bytes, the last line's digest and moment.

    Keep a digest elsewhere, and a file that was cut back to an earlier state will not pass for the newest.
    """

    lines: int = 0
    end: int = 0
    digest: str = ""
    at: datetime | None = None


def read_lines(data: bytes, head: Head, authority: bytes) -> tuple[tuple[Line, ...], Head]:
    """The whole lines in `data`, which follows `head`. A last line without its line feed is not one yet.

    Raises:
        BrokenChain (RF701): names the first line that does not continue the chain, or the last signature.
    """
    found: list[Line] = []
    unsigned: dict[str, Any] = {}
    signature = b""
    for raw in whole_lines(data):
        try:
            line, unsigned, signature = _parse(raw, head)
        except RingfortError as error:
            raise BrokenChain(f"line {head.lines + 1} of the registry: {error.message}") from error
        digest = hashlib.sha256(raw).hexdigest()
        head = Head(head.lines + 1, head.end + len(raw) + 1, digest, line.at)
        found.append(line)
    if found and not Directory({_SIGNER: authority}).verifies(_SIGNER, signature, _DOMAIN + canonical_json(unsigned)):
        raise BrokenChain(f"line {head.lines} of the registry is not signed by this authority")
    return tuple(found), head


def _parse(raw: bytes, head: Head) -> tuple[Line, dict[str, Any], bytes]:
    fields = {"v": int, "seq": int, "at": str, "prev": str, "kind": str, "body": dict, "signature": str}
    found = exact(read_document(raw, max_bytes=_MAX_LINE_BYTES), fields)
    signature = hexadecimal(found.pop("signature"), 64)
    if (found["v"], found["seq"], found["prev"]) != (1, head.lines, head.digest):
        raise BadSignature("chain", "it does not continue the chain: a line was edited, dropped, moved or put in")
    at = moment(found["at"])
    if head.at is not None and at < head.at:
        raise BadSignature("chain", "it is older than the line before")
    return Line(found["seq"], at, found["kind"], found["body"]), found, signature


class ChainReader:
    """Follows a file that another process writes.

    Args:
        path: the file.
        authority: the public key that must have signed it.
    """

    def __init__(self, path: Path, authority: bytes) -> None:
        self._path, self._authority, self.head = path, authority, Head()

    def fresh(self) -> tuple[Line, ...]:
        """The lines since the last call.

        Raises:
            BrokenChain (RF701): missing, shorter than it was, or its new lines do not continue what was read.
        """
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self.head.end:
                    raise BrokenChain("the registry is shorter than it was: somebody put an older one in its place")
                file.seek(self.head.end)
                data = file.read()
        except OSError as error:
            raise BrokenChain(f"cannot read {self._path}: {error.strerror or error}") from error
        lines, self.head = read_lines(data, self.head, self._authority)
        return lines


class ChainWriter:
    """Appends to the file. When `append` returns, the line survives kill -9 and a power cut (as far as fsync does).

    Args:
        path: the file; created with mode 0600 if it is missing.
        key: signs every line.

    Raises:
        BrokenChain (RF701), OutputUnwritable (RF107): held by another writer, or not writable.
    """

    def __init__(self, path: Path, key: SigningKey) -> None:
        self._key, self._file = key, LineFile(path, "registry", private=True)
        with self._file.reading():
            self.lines, self.head = read_lines(path.read_bytes(), Head(), key.public)
            self._file.resume(self.head.end)

    def append(self, at: datetime, kind: str, body: dict[str, Any]) -> Line:
        """Make one line durable.

        Raises:
            OutputUnwritable (RF107): it could not be; the writer is closed then, because nobody knows what is on disk.
        """
        fields = {
            "v": 1,
            "seq": self.head.lines,
            "at": stamp(at),
            "prev": self.head.digest,
            "kind": kind,
            "body": body,
        }
        raw = canonical_json({**fields, "signature": self._key.sign(_DOMAIN + canonical_json(fields)).hex()})
        if len(raw) > _MAX_LINE_BYTES:
            raise OutputUnwritable(f"a line of the registry has at most {_MAX_LINE_BYTES} bytes")
        if self._file.closed:
            raise OutputUnwritable(f"{self._file.path} was closed: open the registry again")
        try:
            append_line(self._file, raw + b"\n")
        except OutputUnwritable:
            self.close()
            raise
        line = Line(self.head.lines, at, kind, body)
        digest = hashlib.sha256(raw).hexdigest()
        self.head = Head(self.head.lines + 1, self.head.end + len(raw) + 1, digest, at)
        return line

    def close(self) -> None:
        """Let go of the lock. Idempotent."""
        self._file.close()
