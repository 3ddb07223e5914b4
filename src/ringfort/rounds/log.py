"""The audit log: what an auditor can check about a run's folder, alone, and against what was kept outside.

`verify` reads everything that a run left behind and names the first thing that is wrong. `prove` cuts one record out
of the log with what shows that a signed checkpoint covers it; `check` needs that piece and a public key, not the log.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import BadProof, BrokenChain, InvalidValue, RingfortError
from ringfort.core.files import canonical_json
from ringfort.core.lines import whole_lines
from ringfort.core.tensors import digest_of
from ringfort.core.values import Action
from ringfort.identity.documents import hexadecimal, read_document
from ringfort.privacy import Account, read_account
from ringfort.rounds.attempts import ATTEMPTS, Attempt, read_attempts
from ringfort.rounds.checkpoint import CHECKPOINTS, Checkpoint, read_checkpoints
from ringfort.rounds.journal import RECORDS, kept_files, stream_records
from ringfort.rounds.merkle import Tree, consistency_path, inclusion_path, root_from, verify_consistency
from ringfort.rounds.record import RoundRecord

__all__ = [
    "Checked",
    "Verified",
    "as_document",
    "check",
    "prove",
    "prove_consistency",
    "rows_csv",
    "rows_jsonl",
    "verify",
]

_KEPT: Final = 3
_MAX_PROOF_BYTES: Final = 64 << 20
_COLUMNS: Final = (
    "round",
    "client",
    "outcome",
    "weight",
    "code",
    "reason",
    "detail",
    "rule",
    "model",
    "next_model",
    "record",
)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read in a run's folder and found in order.

    Args:
        run: its name.
        records: genesis included.
        head: digest of the last.
        root: Merkle head over all.
        attempts: rounds that failed.
        checkpoints: beside the records, with signatures that fit their own keys.
        anchored: records that a checkpoint from outside covers; None if none was given. Behind it, the log can still
            have been cut or rewritten.
        files: models and memories that have their digests.
        charges: in the privacy ledgers.
        notes: what is odd and proves nothing.
    """

    run: str
    records: int
    head: str
    root: str
    attempts: int
    checkpoints: int
    anchored: int | None
    files: int
    charges: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__} | {"notes": list(self.notes)}


def verify(folder: Path, outside: Path | None = None, public: bytes | None = None) -> Verified:
    """Read all of a run's folder and check it.

    Args:
        folder: of the run.
        outside: checkpoints that were kept where the server could not change them, one a line.
        public: the key that signed them; without it a checkpoint proves nothing.

    Guarantees:
        Every record continues the chain, every digest is right, models and ledgers are what the records say.
        With `outside`: the records are those of which the newest checkpoint was signed; not one of them was edited,
        dropped, moved, put in or cut off since, and the folder was not rolled back behind it.

    Raises:
        BrokenChain (RF701), BadProof (RF705): names the first bad record, line or file.
        InvalidValue (RF104): checkpoints without a key, or a key without checkpoints.

    Does not protect against: a server that wrote lies from the start, or changed what came after the last checkpoint.

    Cost: reads the records once.
    """
    if (outside is None) != (public is None):
        raise InvalidValue("--checkpoint and --key go together: a checkpoint proves something by its signature alone")
    notes: list[str] = []
    beside = _beside(folder, notes)
    anchors = () if outside is None or public is None else _anchors(outside, public)
    attempts, _ = read_attempts(folder)
    order = {attempt.digest: i for i, attempt in enumerate(attempts)}
    tree = Tree()
    digests = {""}
    last: list[RoundRecord] = []
    charged: dict[int, Any] = {}
    head, at, end = "", -1, 0
    wanted = {c.size for c in (*beside, *anchors)}
    roots_at: dict[int, str] = {0: tree.root.hex()}
    for kept in stream_records(folder):
        record, head, end = kept.record, kept.digest, kept.end
        tree.append(bytes.fromhex(head))
        digests.add(head)
        if tree.size in wanted:
            roots_at[tree.size] = tree.root.hex()
        at = _attempt(record, order, at)
        if "release" in record.privacy:
            charged[record.round] = record.privacy["release"]
        last = [*last, record][-_KEPT:]
    if not last:
        raise BrokenChain(f"{folder / RECORDS} holds no record")
    run = last[-1].run
    _chain_of_attempts(attempts, run, digests)
    for name, checkpoints in ((CHECKPOINTS, beside), (outside.name if outside else "", anchors)):
        _against(name, checkpoints, run, tree.size, roots_at, order)
    if outside is not None and not any(c.origin == run for c in anchors):
        raise BadProof(f"{outside} holds no checkpoint of the run {run}")
    if (folder / RECORDS).stat().st_size > end:
        notes.append(f"{RECORDS} ends in a line that a crash cut: it was never committed")
    accounts = _accounts(folder)
    _charges(folder, accounts, charged)
    return Verified(
        run=run,
        records=tree.size,
        head=head,
        root=tree.root.hex(),
        attempts=len(attempts),
        checkpoints=len(beside),
        anchored=max(c.size for c in anchors if c.origin == run) if anchors else None,
        files=_files(folder, last),
        charges=sum(len(account.entries) for account in accounts.values()),
        notes=tuple(notes),
    )


def _attempt(record: RoundRecord, order: dict[str, int], at: int) -> int:
    """The place of the failed round that a record names; it never goes back."""
    if not record.attempts:
        if at >= 0:
            raise BrokenChain(f"round {record.round} names no failed round, but an earlier one does")
        return at
    found = order.get(record.attempts)
    if found is None or found < at:
        raise BrokenChain(f"round {record.round} names a failed round that is not, or no longer, in {ATTEMPTS}")
    return found


def _chain_of_attempts(attempts: tuple[Attempt, ...], run: str, digests: set[str]) -> None:
    for number, attempt in enumerate(attempts):
        if attempt.run != run or attempt.after not in digests:
            raise BrokenChain(f"line {number + 1} of {ATTEMPTS} follows a record that is not in {RECORDS}")


def _beside(folder: Path, notes: list[str]) -> tuple[Checkpoint, ...]:
    if not (folder / CHECKPOINTS).exists():
        return ()
    found, _ = read_checkpoints(folder / CHECKPOINTS)
    for before, after in itertools.pairwise(found):
        if after.time < before.time:
            notes.append(f"the signer's clock went back from {before.time} to {after.time}")
        if after.key != before.key:
            notes.append(f"from {after.time} on, checkpoints are signed with the key {after.key[:16]}")
        if after.size < before.size:
            raise BrokenChain(f"a checkpoint of size {after.size} in {CHECKPOINTS} follows one of size {before.size}")
    return found


def _anchors(path: Path, public: bytes) -> tuple[Checkpoint, ...]:
    found, _ = read_checkpoints(path)
    for checkpoint in found:
        checkpoint.verify(public)
    if not found:
        raise BadProof(f"{path} holds no checkpoint")
    return found


def _against(
    name: str, checkpoints: tuple[Checkpoint, ...], run: str, size: int, roots: dict[int, str], attempts: dict[str, int]
) -> None:
    """Each checkpoint of this run covers a beginning of its records. The smallest that does not names the place."""
    good = 0
    for checkpoint in sorted((c for c in checkpoints if c.origin == run), key=lambda c: c.size):
        if checkpoint.size > size:
            raise BrokenChain(
                f"{RECORDS} holds {size} records, {name} says {checkpoint.size} at {checkpoint.time}: record "
                f"{size + 1} and those after it were cut off, or the folder was rolled back"
            )
        if roots[checkpoint.size] != checkpoint.root:
            where = (
                f"line {good + 1}" if checkpoint.size == good + 1 else f"one of lines {good + 1} to {checkpoint.size}"
            )
            raise BrokenChain(f"{where} of {RECORDS} is not the record that {name} covered at {checkpoint.time}")
        if checkpoint.attempts and checkpoint.attempts not in attempts:
            raise BrokenChain(f"{ATTEMPTS} no longer has the failed round that {name} covered at {checkpoint.time}")
        good = checkpoint.size


def _files(folder: Path, last: list[RoundRecord]) -> int:
    """The files of the last records. The newest must be there; what was forgotten before it may be."""
    count = 0
    for record in last:
        for path, digest in zip(kept_files(folder, record), (record.next_model, record.memory), strict=False):
            try:
                data = path.read_bytes()
            except OSError as error:
                raise BrokenChain(f"round {record.round}: {path.name} is not in {path.parent}") from error
            if digest_of(data) != digest:
                raise BrokenChain(f"round {record.round}: {path.name} does not have its digest")
            count += 1
    return count


def _accounts(folder: Path) -> dict[str, Account]:
    paths = [folder / "privacy.jsonl"] if (folder / "privacy.jsonl").exists() else []
    paths += sorted((folder / "privacy").glob("*.jsonl"))
    accounts = {}
    for path in paths:
        try:
            accounts[path.name] = read_account(path)
        except RingfortError as error:
            raise BrokenChain(f"{path}: {error.message}") from error
    return accounts


def _charges(folder: Path, accounts: dict[str, Account], charged: dict[int, Any]) -> None:
    """Every round that released something privately was paid for by a line that is still in the run's ledger."""
    if not charged:
        return
    if "privacy.jsonl" not in accounts:
        raise BrokenChain(f"round {min(charged)} was charged to privacy.jsonl, which is not there")
    lines = {json.loads(line)["digest"] for line in whole_lines((folder / "privacy.jsonl").read_bytes())}
    for number, release in charged.items():
        if not isinstance(release, dict) or release.get("paid") not in lines:
            raise BrokenChain(f"round {number} was paid for by a line that is not, or no longer, in privacy.jsonl")


def prove(folder: Path, number: int, outside: Path | None = None) -> dict[str, Any]:
    """What convinces somebody who has only the log's public key that one record is in the log.

    Args:
        folder: of the run.
        number: the round; 0 is the genesis record.
        outside: checkpoints from elsewhere to prove it against; those beside the records by default.

    Returns:
        Plain values: the record, its path to the Merkle head, and the newest signed checkpoint that covers it.

    Raises:
        BrokenChain (RF701): the log does not verify. InvalidValue (RF104): no such round, or no checkpoint covers it.
    """
    leaves, chosen, checkpoint = [], None, None
    for kept in stream_records(folder):
        leaves.append(bytes.fromhex(kept.digest))
        if kept.record.round == number:
            chosen = kept.record
    if chosen is None:
        raise InvalidValue(f"there is no round {number} in {folder}: it has rounds 0 to {len(leaves) - 1}")
    checkpoint = _newest(folder, outside, chosen.run, number, leaves)
    return {
        "v": 1,
        "kind": "inclusion",
        "record": {**chosen.to_json(), "digest": chosen.digest},
        "path": [step.hex() for step in inclusion_path(leaves[: checkpoint.size], number)],
        "checkpoint": checkpoint.to_json(),
    }


def prove_consistency(folder: Path, old: Path) -> dict[str, Any]:
    """What shows, without the records, that the log that the first checkpoint in `old` covered only grew.

    Raises:
        BrokenChain (RF701), BadProof (RF705): it did not. InvalidValue (RF104): no checkpoint of this run.
    """
    records = [(kept.record.run, bytes.fromhex(kept.digest)) for kept in stream_records(folder)]
    leaves = [leaf for _, leaf in records]
    run = records[0][0] if records else ""
    first = next((c for c in read_checkpoints(old)[0] if c.origin == run), None)
    if first is None:
        raise InvalidValue(f"{old} holds no checkpoint of the run {run}")
    newest = _newest(folder, None, run, first.size - 1, leaves)
    if Tree(leaves[: first.size]).root.hex() != first.root:
        raise BrokenChain(f"the first {first.size} lines of {RECORDS} are not those that {old} covered")
    return {
        "v": 1,
        "kind": "consistency",
        "old": first.to_json(),
        "path": [step.hex() for step in consistency_path(leaves[: newest.size], first.size)],
        "checkpoint": newest.to_json(),
    }


def _newest(folder: Path, outside: Path | None, run: str, number: int, leaves: list[bytes]) -> Checkpoint:
    path = outside or folder / CHECKPOINTS
    found = read_checkpoints(path)[0] if path.exists() else ()
    covering = [c for c in found if c.origin == run and number < c.size <= len(leaves)]
    if not covering:
        raise InvalidValue(f"no checkpoint in {path} covers round {number}: sign them with --log-key, or a [log] table")
    newest = max(covering, key=lambda c: c.size)
    if Tree(leaves[: newest.size]).root.hex() != newest.root:
        raise BrokenChain(f"the first {newest.size} lines of {RECORDS} are not those that {path.name} covered")
    return newest


@dataclass(frozen=True, slots=True)
class Checked:
    """What a proof shows.

    Args:
        checkpoint: signed, by the key that was given.
        record: in the log that the checkpoint covers; None for a proof of consistency.
        old: the earlier checkpoint of the same log; None for a proof of inclusion.
    """

    checkpoint: Checkpoint
    record: RoundRecord | None = None
    old: Checkpoint | None = None


def check(proof: bytes, public: bytes) -> Checked:
    """Read and check what `prove` or `prove_consistency` made.

    Args:
        proof: canonical JSON, from anybody.
        public: the log's key, from somebody who is trusted.

    Raises:
        BadProof (RF705): it shows nothing; the message says why.
    """
    try:
        value = read_document(proof.strip(), max_bytes=_MAX_PROOF_BYTES)
        kind, fields = value.get("kind"), set(value)
        wanted = {"inclusion": "record", "consistency": "old"}.get(str(kind), "")
        if value.get("v") != 1 or fields != {"v", "kind", "path", "checkpoint", wanted}:
            raise BadProof("not a proof of version 1")
        steps = value["path"]
        if not isinstance(steps, list) or len(steps) > 64 or not all(isinstance(step, str) for step in steps):
            raise BadProof("not a proof of version 1")
        path = [hexadecimal(step, 32) for step in steps]
        checkpoint = Checkpoint.from_json(value["checkpoint"])
        checkpoint.verify(public)
        if kind == "consistency":
            return _consistent(Checkpoint.from_json(value["old"]), checkpoint, path, public)
        if not isinstance(value["record"], dict):
            raise BadProof("it holds no record")
        record = RoundRecord.from_json(value["record"])
    except BadProof:
        raise
    except RingfortError as error:
        raise BadProof(f"the proof does not hold: {error.message}") from error
    if record.run != checkpoint.origin:
        raise BadProof("the record is of another run than the checkpoint")
    root = root_from(bytes.fromhex(record.digest), record.round, checkpoint.size, path)
    if root.hex() != checkpoint.root:
        raise BadProof(f"round {record.round} is not the record that the checkpoint covers")
    return Checked(checkpoint, record=record)


def _consistent(old: Checkpoint, new: Checkpoint, path: list[bytes], public: bytes) -> Checked:
    old.verify(public)
    if old.origin != new.origin:
        raise BadProof("the two checkpoints are of different runs")
    verify_consistency(old.size, bytes.fromhex(old.root), new.size, bytes.fromhex(new.root), path)
    return Checked(new, old=old)


def rows_jsonl(folder: Path) -> Iterator[bytes]:
    """The verified records, then the failed rounds, one line of canonical JSON each.

    Raises:
        BrokenChain (RF701): at the first bad record.
    """
    for kept in stream_records(folder):
        yield kept.record.line()
    for attempt in read_attempts(folder)[0]:
        yield attempt.line()


def rows_csv(folder: Path) -> Iterator[bytes]:
    """One row for every client in every round and what became of it, for a spreadsheet. RFC 4180, UTF-8.

    A text that a spreadsheet would run as a formula begins with an apostrophe here.

    Raises:
        BrokenChain (RF701): at the first bad record.
    """
    yield _row(_COLUMNS)
    for kept in stream_records(folder):
        record = kept.record
        tail = (record.rule, record.model, record.next_model, kept.digest)
        for verdict in record.verdicts:
            outcome = "left out" if verdict.action is Action.EXCLUDE else verdict.action.value
            yield _row(
                (record.round, verdict.client, outcome, verdict.weight, "", "; ".join(verdict.reasons), "", *tail)
            )
        yield from _others(record, tail)
    for attempt in read_attempts(folder)[0]:
        tail = ("", "", "", attempt.digest)
        yield _row((attempt.round, "", "round failed", "", attempt.code, "", attempt.message, *tail))
        yield from _others(attempt, tail)


def _others(record: RoundRecord | Attempt, tail: tuple[str, ...]) -> Iterator[bytes]:
    for refusal in record.refusals:
        yield _row((record.round, refusal.client, "refused", "", refusal.code, refusal.reason, refusal.detail, *tail))
    for failure in record.failures:
        yield _row((record.round, failure.client, "failed", "", "", "", failure.error, *tail))
    for client in record.absent:
        yield _row((record.round, client, "absent", "", "", "", "", *tail))


def _row(cells: tuple[Any, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([_guarded(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().encode()


def _guarded(text: str) -> str:
    """No formula, no control character: neither a spreadsheet nor a terminal does anything with it.

    >>> _guarded("=1+1")
    "'=1+1"
    """
    plain = "".join(c if c.isprintable() else " " for c in text)
    return f"'{plain}" if plain.lstrip()[:1] in ("=", "+", "-", "@") and plain.strip() else plain


def as_document(value: dict[str, Any]) -> bytes:
    """A proof as a file."""
    return canonical_json(value) + b"\n"
