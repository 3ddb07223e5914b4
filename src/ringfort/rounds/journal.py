"""The journal: what was committed, in a hash chain, with the models it names. A crash never loses a committed round."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from ringfort.core.errors import BadCheckpoint, BrokenChain, OutputUnwritable
from ringfort.core.failpoints import failpoint
from ringfort.core.files import write_atomic
from ringfort.core.lines import LineFile, append_line
from ringfort.core.tensors import digest_of
from ringfort.rounds.attempts import ATTEMPTS, Attempt, read_attempts
from ringfort.rounds.checkpoint import CHECKPOINTS, Checkpoint, Checkpoints, Signing, read_checkpoints
from ringfort.rounds.merkle import Tree
from ringfort.rounds.record import RoundRecord

__all__ = ["MODELS", "RECORDS", "Journal", "Kept", "following", "kept_files", "read_records", "stream_records"]

RECORDS: Final = "rounds.jsonl"
MODELS: Final = "models"
_KEEP_MODELS = 3
_NAMED_BY_DIGEST: Final = re.compile(r"[0-9a-f]{64}\.(safetensors|memory)|\..*\.tmp")


@dataclass(frozen=True, slots=True)
class Kept:
    """One verified record of a file.

    Args:
        record: what it says.
        digest: its digest, which is its leaf in the Merkle tree.
        end: bytes of the file up to the end of its line.
    """

    record: RoundRecord
    digest: str
    end: int


def stream_records(folder: Path) -> Iterator[Kept]:
    """The verified records of a run one by one, holding one at a time.

    A last line without its line feed was cut by a crash before it was committed: it is left out.

    Raises:
        BrokenChain (RF701): names the first record that does not continue the chain.
    """
    last: Kept | None = None
    end = number = 0
    try:
        with (folder / RECORDS).open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number, end = number + 1, end + len(line)
                try:
                    last = following(last, line, end)
                except BrokenChain as error:
                    raise BrokenChain(f"line {number} of {RECORDS}: {error.message}") from error
                yield last
    except OSError as error:
        raise BrokenChain(f"cannot read {folder / RECORDS}: {error.strerror or error}") from error


_DISCONTINUED: Final = "it does not continue the chain: a record was edited, dropped, reordered or inserted"


def following(last: Kept | None, line: bytes, end: int) -> Kept:
    """The record in a whole line, verified against the one before it; None before the first.

    Raises:
        BrokenChain (RF701): it is no record, or does not continue the chain.
    """
    record, digest = RoundRecord.from_line(line[:-1])
    if last is None:
        if (record.prev, record.round) != ("", 0):
            raise BrokenChain(_DISCONTINUED)
        return Kept(record, digest, end)
    before = last.record
    if (record.prev, record.round, record.run) != (last.digest, before.round + 1, before.run):
        raise BrokenChain(_DISCONTINUED)
    if record.model != before.next_model:
        raise BrokenChain("it starts from another model than the one before left")
    return Kept(record, digest, end)


def read_records(folder: Path) -> tuple[tuple[RoundRecord, ...], int]:
    """The verified records of a journal and the number of bytes that hold them, as `stream_records` gives them."""
    kept = list(stream_records(folder))
    return tuple(k.record for k in kept), kept[-1].end if kept else 0


def kept_files(folder: Path, record: RoundRecord) -> tuple[Path, ...]:
    """The model's file that a record names, and the memory's if there is one."""
    model = folder / MODELS / f"{record.next_model}.safetensors"
    return (model, folder / MODELS / f"{record.memory}.memory") if record.memory else (model,)


class Journal:
    """Round records, model files and the defence's memory in one folder.

    The records are lines of canonical JSON, each naming the digest of the one before; models and memories are files
    named by their digest. A round is committed when its line is on disk, which happens after its files are: at any
    moment the last whole line names files that are there.

    Args:
        folder: exists and is writable. Holds `rounds.jsonl` and `models/`; `attempts.jsonl` if a round ever failed.
        signing: signs a checkpoint after every commit into `checkpoints.jsonl`, and hands it on; None signs none.

    Guarantees:
        After `commit` returns, the round survives kill -9 and a power cut (as far as the disk honours fsync).
        One writer at a time: a second one is refused.
        Records that are fewer or others than a checkpoint in the folder says are refused.
        What it holds in memory, and what a commit costs, do not grow with the number of rounds.

    Raises:
        BrokenChain (RF701), BadProof (RF705), OutputUnwritable (RF107).

    Does not protect against: whoever can rewrite the whole folder. Keep checkpoints, or the head digest (the report
        has it), elsewhere.
    """

    def __init__(self, folder: Path, signing: Signing | None = None) -> None:
        self._folder, self._tree, self._last = folder, Tree(), deque[RoundRecord](maxlen=_KEEP_MODELS + 1)
        self._attempts: LineFile | None = None
        self._checkpoints: Checkpoints | None = None
        self._attempts_head = ""
        try:
            (folder / MODELS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputUnwritable(f"cannot write {folder}: {error.strerror or error}") from error
        self._file = LineFile(folder / RECORDS, "rounds")
        try:
            self._resume(signing)
        except OSError as error:
            self.close()
            raise OutputUnwritable(f"cannot write {folder}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def _resume(self, signing: Signing | None) -> None:
        said = _said(self._folder)
        end = 0
        attempts, _ = read_attempts(self._folder)
        known = {attempt.digest for attempt in attempts}
        for kept in stream_records(self._folder):
            end = kept.end
            self._take(kept.record, kept.digest)
            _compare(said.pop(self._tree.size, ()), kept.record.run, self._tree, known)
            if kept.record.attempts and kept.record.attempts not in known:
                raise BrokenChain(f"round {kept.record.round} names a failed round that is not in {ATTEMPTS}")
        if said:
            raise BrokenChain(
                f"{RECORDS} holds {self._tree.size} records and a checkpoint beside it says {max(said)}: the last "
                "ones were cut off, or an older file was put in its place"
            )
        self._attempts_head = attempts[-1].digest if attempts else ""
        self._file.resume(end)
        self._sweep()
        if signing is not None:
            self._checkpoints = Checkpoints(self._folder, signing)
            if self.head is not None:  # the last one may not have been signed, or not have reached every place
                self._sign()

    @property
    def head(self) -> RoundRecord | None:
        """The last committed record."""
        return self._last[-1] if self._last else None

    @property
    def size(self) -> int:
        """How many records there are, genesis included."""
        return self._tree.size

    @property
    def root(self) -> str:
        """The Merkle head over all records, hexadecimal."""
        return self._tree.root.hex()

    @property
    def records(self) -> tuple[RoundRecord, ...]:
        """All committed records, read from disk and verified. `stream` holds one at a time."""
        return tuple(self.stream())

    def stream(self) -> Iterator[RoundRecord]:
        """The committed records in order, read from disk and verified."""
        return (kept.record for kept in stream_records(self._folder))

    @property
    def attempts_head(self) -> str:
        """The digest of the last failed round; empty if none failed. The next record names it."""
        return self._attempts_head

    def commit(self, record: RoundRecord, model: bytes, memory: bytes = b"") -> None:
        """Make `record` and the files it names (`next_model`, `memory`) durable, the files first.

        Raises:
            OutputUnwritable (RF107): it was not committed; or it was, and its checkpoint did not reach every place:
                `head` says which. Nothing that was committed before is touched.
        """
        failpoint("commit.begin")
        for path, data in zip(kept_files(self._folder, record), (model, memory), strict=False):
            if not path.exists():
                write_atomic(path, data)
            failpoint("commit.model")
        failpoint("commit.files")
        append_line(self._file, record.line())
        failpoint("commit.recorded")
        self._take(record, record.digest)
        if len(self._last) > _KEEP_MODELS:
            kept = self._kept()
            for path in kept_files(self._folder, self._last[0]):
                if path not in kept:
                    with contextlib.suppress(OSError):  # the round is committed; the next start sweeps again
                        path.unlink(missing_ok=True)
        failpoint("commit.forgotten")
        self._sign()

    def fail(self, attempt: Attempt) -> None:
        """Keep what became of a round that ended without a step. `attempt.prev` is filled in here.

        Raises:
            OutputUnwritable (RF107): it could not be written.
        """
        if self._attempts is None:
            file = LineFile(self._folder / ATTEMPTS, "attempts")
            with file.reading():
                _, end = read_attempts(self._folder)
                file.resume(end)
            self._attempts = file
        attempt = replace(attempt, prev=self._attempts_head)
        append_line(self._attempts, attempt.line())
        self._attempts_head = attempt.digest
        self._sign()

    def model(self, digest: str) -> bytes:
        """The encoded model with this digest.

        Raises:
            BadCheckpoint (RF702): missing, or its bytes do not have the digest.
        """
        return self._read("model", self._folder / MODELS / f"{digest}.safetensors", digest)

    def memory(self, digest: str) -> bytes:
        """What the defence remembered, encoded; nothing for an empty digest.

        Raises:
            BadCheckpoint (RF702): missing, or its bytes do not have the digest.
        """
        return self._read("memory", self._folder / MODELS / f"{digest}.memory", digest) if digest else b""

    def _read(self, kind: str, path: Path, digest: str) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadCheckpoint(f"{kind} {digest[:12]} is not in {path.parent}") from error
        if digest_of(data) != digest:
            raise BadCheckpoint(f"{kind} {digest[:12]} in {path.parent} does not have its digest")
        return data

    def _take(self, record: RoundRecord, digest: str) -> None:
        self._tree.append(bytes.fromhex(digest))
        self._last.append(record)

    def _sign(self) -> None:
        if self._checkpoints is not None and self.head is not None:
            self._checkpoints.issue(self.head.run, self._tree.size, self._tree.root, self._attempts_head)

    def _kept(self) -> set[Path]:
        return {path for record in list(self._last)[-_KEEP_MODELS:] for path in kept_files(self._folder, record)}

    def _sweep(self) -> None:
        """Remove old files, and what a killed writer left: files of rounds that never were, halves of files."""
        kept = self._kept()
        for path in (self._folder / MODELS).iterdir():
            if path not in kept and _NAMED_BY_DIGEST.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the locks, also in the name of worker processes that inherited them by fork. Idempotent."""
        for file in (self._file, self._attempts, self._checkpoints):
            if file is not None:
                file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _said(folder: Path) -> dict[int, list[Checkpoint]]:
    """The checkpoints beside the records, by size."""
    if not (folder / CHECKPOINTS).exists():
        return {}
    found: dict[int, list[Checkpoint]] = {}
    for checkpoint in read_checkpoints(folder / CHECKPOINTS)[0]:
        found.setdefault(checkpoint.size, []).append(checkpoint)
    return found


def _compare(said: Sequence[Checkpoint], run: str, tree: Tree, attempts: set[str]) -> None:
    for checkpoint in said:
        if checkpoint.attempts and checkpoint.attempts not in attempts:
            raise BrokenChain(f"the checkpoint of {checkpoint.time} names a failed round that is not in {ATTEMPTS}")
        if (checkpoint.origin, checkpoint.root) != (run, tree.root.hex()):
            raise BrokenChain(
                f"the first {tree.size} lines of {RECORDS} are not those of which a checkpoint was signed at "
                f"{checkpoint.time}"
            )
