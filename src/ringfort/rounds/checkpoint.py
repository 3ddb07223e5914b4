"""Signed checkpoints: how many round records there were, and the Merkle head over them, by somebody's key.

A checkpoint is worth something where the server cannot change it. So each is written to `checkpoints.jsonl` beside the
records and handed on, at once, to places outside (`rounds.places`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import BadProof, BrokenChain, InvalidValue, RingfortError
from ringfort.core.failpoints import failpoint
from ringfort.core.files import canonical_json
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.lines import LineFile, append_line, whole_lines
from ringfort.core.values import client_id
from ringfort.identity.documents import exact, hexadecimal, read_document
from ringfort.identity.times import moment, stamp

__all__ = ["CHECKPOINTS", "Checkpoint", "Checkpoints", "Place", "Signing", "public_key", "read_checkpoints"]

CHECKPOINTS: Final = "checkpoints.jsonl"
_DOMAIN: Final = b"ringfort checkpoint v1\x00"
_MAX_LINE_BYTES: Final = 4096
_FIELDS: Final[dict[str, type]] = {
    "v": int,
    "origin": str,
    "size": int,
    "root": str,
    "attempts": str,
    "time": str,
    "key": str,
    "signature": str,
}
_SIGNER: Final = client_id("log")

Place = Callable[[bytes], None]
"""Takes one line to where the server cannot change it; raises OutputUnwritable (RF107) if it did not arrive."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one key says about a log at one moment.

    Args:
        origin: the log: a run's name.
        size: records, genesis included.
        root: Merkle head over them, hexadecimal.
        attempts: digest of the last line of `attempts.jsonl`, empty if there is none.
        time: when it was signed, by the signer's clock. Nothing is decided by it.
        key: the public key, hexadecimal.
        signature: Ed25519 over a domain string and everything above, hexadecimal.
    """

    origin: str
    size: int
    root: str
    attempts: str
    time: str
    key: str
    signature: str = field(repr=False)

    @classmethod
    def sign(cls, key: SigningKey, origin: str, size: int, root: bytes, attempts: str, now: datetime) -> Checkpoint:
        """Made and signed."""
        unsigned = cls(origin, size, root.hex(), attempts, stamp(now), key.public.hex(), "")
        return cls(*unsigned._said(), key.sign(_DOMAIN + canonical_json(unsigned._plain())).hex())

    def _said(self) -> tuple[str, int, str, str, str, str]:
        return self.origin, self.size, self.root, self.attempts, self.time, self.key

    def _plain(self) -> dict[str, Any]:
        return {"v": 1, **dict(zip(list(_FIELDS)[1:-1], self._said(), strict=True))}

    def to_json(self) -> dict[str, Any]:
        """As in the file."""
        return {**self._plain(), "signature": self.signature}

    def line(self) -> bytes:
        """One line of canonical JSON."""
        return canonical_json(self.to_json()) + b"\n"

    @classmethod
    def from_json(cls, value: object) -> Checkpoint:
        """Read what `to_json` wrote; the signature is not yet verified.

        Raises:
            BadProof (RF705): not a checkpoint of version 1.
        """
        try:
            found = exact(value, _FIELDS)
            if found.pop("v") != 1 or found["size"] < 0 or len(found["origin"]) > 64:
                raise BadProof("it is not a checkpoint of version 1")
            for name, size in (("root", 32), ("key", 32), ("signature", 64)):
                hexadecimal(found[name], size)
            if found["attempts"]:
                hexadecimal(found["attempts"], 32)
            moment(found["time"])
        except RingfortError as error:
            raise BadProof(f"not a checkpoint: {error.message}") from error
        return cls(**found)

    @classmethod
    def from_line(cls, line: bytes) -> Checkpoint:
        """Read one line, without its line feed.

        Raises:
            BadProof (RF705): not a checkpoint of version 1 in canonical form.
        """
        try:
            value = read_document(line, max_bytes=_MAX_LINE_BYTES)
        except RingfortError as error:
            raise BadProof(f"not a checkpoint: {error.message}") from error
        return cls.from_json(value)

    def verify(self, public: bytes | None = None) -> None:
        """See that its key signed it, and that its key is `public`.

        Raises:
            BadProof (RF705): it is not, or did not.
        """
        key = bytes.fromhex(self.key)
        if public is not None and key != public:
            raise BadProof(
                f"the checkpoint of size {self.size} is signed with the key {self.key[:16]}, not the one given"
            )
        message = _DOMAIN + canonical_json(self._plain())
        if not Directory({_SIGNER: key}).verifies(_SIGNER, bytes.fromhex(self.signature), message):
            raise BadProof(f"the checkpoint of size {self.size} was altered: its signature does not fit")


def read_checkpoints(path: Path) -> tuple[tuple[Checkpoint, ...], int]:
    """The checkpoints in a file, each with a signature that fits its own key, and the bytes that hold them.

    A last line without its line feed was cut by a crash and is left out.

    Raises:
        BadProof (RF705): names the first line that is not one.
        BrokenChain (RF701): the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenChain(f"cannot read {path}: {error.strerror or error}") from error
    lines = whole_lines(data)
    found = []
    for number, line in enumerate(lines):
        try:
            checkpoint = Checkpoint.from_line(line)
            checkpoint.verify()
        except BadProof as error:
            raise BadProof(f"line {number + 1} of {path.name}: {error.message}") from error
        found.append(checkpoint)
    return tuple(found), sum(len(line) + 1 for line in lines)


@dataclass(frozen=True)
class Signing:
    """How a journal's checkpoints are signed, and where they go.

    Args:
        key: the log's key.
        to: places outside that get every line; at least one, if the log is to prove anything against its own server.
        clock: for the checkpoints' time. If it jumps, the times jump with it and nothing else does.
    """

    key: SigningKey
    to: Sequence[Place] = ()
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)


class Checkpoints:
    """The writer of `checkpoints.jsonl`.

    Args:
        folder: of the run.
        signing: whose key, and where to.

    Guarantees:
        When `issue` returns, the checkpoint is durable beside the records and every place has taken it. A checkpoint
        that did not reach all places is issued again at the next start: a place may get one twice, never none.

    Raises:
        OutputUnwritable (RF107): held by another writer, not writable, or a place did not take it.
        BadProof (RF705): a line in the file is not a checkpoint.
    """

    def __init__(self, folder: Path, signing: Signing) -> None:
        self._signing = signing
        self._file = LineFile(folder / CHECKPOINTS, "checkpoints")
        with self._file.reading():
            self.found, end = read_checkpoints(self._file.path)
            self._file.resume(end)

    def issue(self, origin: str, size: int, root: bytes, attempts: str) -> Checkpoint:
        """Sign, keep and hand on one checkpoint."""
        signing = self._signing
        made = Checkpoint.sign(signing.key, origin, size, root, attempts, signing.clock())
        append_line(self._file, made.line())
        for place in signing.to:
            place(made.line())
        failpoint("commit.exported")
        return made

    def close(self) -> None:
        """Let go of the lock. Idempotent."""
        self._file.close()


def public_key(text: str) -> bytes:
    """A public key from 64 hexadecimal characters, or from a file that holds them.

    Raises:
        InvalidValue (RF104): neither.
    """
    try:
        path = Path(text)
        if path.is_file() and path.stat().st_size <= 1024:
            text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError):
        key = b""
    if len(key) != 32:
        raise InvalidValue("a log's public key is 64 hexadecimal characters, or a file that holds them (KEY.pub)")
    return key
