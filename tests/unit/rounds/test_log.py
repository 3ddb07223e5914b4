"""The audit log: what an auditor finds, and that everything that was done to a folder is found."""

import csv
import io
import itertools
import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta

import pytest

from ringfort.aggregate import Mean, Momentum, TrimmedMean, chain
from ringfort.core.errors import (
    BadProof,
    BrokenChain,
    InvalidValue,
    NothingAdmitted,
    OutputUnwritable,
    RingfortError,
    ToleranceExceeded,
)
from ringfort.core.keys import SigningKey
from ringfort.core.ports import Failure
from ringfort.privacy import Budget, CentralNoise, Everyone, FixedClip, Ledger, Neighbouring, Unit
from ringfort.rounds import Journal, read_records
from ringfort.rounds.attempts import read_attempts
from ringfort.rounds.checkpoint import Checkpoint, Signing, public_key, read_checkpoints
from ringfort.rounds.log import as_document, check, prove, prove_consistency, rows_csv, rows_jsonl, verify
from ringfort.rounds.places import ToCommand, ToFile, place
from ringfort.rounds.private import TARIFF, PrivateRelease

KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
ROUNDS = 5


def run(toy, folder, rounds=ROUNDS, key=KEY, clock=None, private=False, **changes):
    """A run with checkpoints outside; its second round fails once; its defence remembers."""
    tried = []

    def trick(name, frame, honest):
        first = toy.Broadcast.decode(frame, toy.MODEL.schema).round == 2 and name not in tried
        if first:
            tried.append(name)
        return Failure(name, "ValueError: =SUM(A1)", "Traceback") if first else toy.Reply(name, honest())

    signing = Signing(key, (ToFile(folder / "outside.jsonl"),), **({"clock": clock} if clock else {}))
    with Journal(folder / "run", signing) as journal:
        given = {"rule": chain(Momentum(beta=0.5), Mean()), "tricks": {f"c{i}": trick for i in range(5)}}
        if private:
            how = CentralNoise(FixedClip(1.0), 5.0, Everyone(5), Neighbouring.ADD_OR_REMOVE)
            budget = Budget(1e6, 1e-5, Neighbouring.ADD_OR_REMOVE, Unit.CLIENT)
            ledger = Ledger(folder / "run" / "privacy.jsonl", "toy", budget, {TARIFF: how.event})
            given = {"rule": Mean(), "release": PrivateRelease(how, ledger)}
        federation = toy.federation(rounds=rounds, journal=journal, **given, **changes)
        try:
            return federation.run()
        except NothingAdmitted:
            return federation.run()
        finally:
            if private:
                ledger.close()


@pytest.fixture
def folder(toy, tmp_path):
    run(toy, tmp_path)
    return tmp_path


def verified(folder):
    return verify(folder / "run", folder / "outside.jsonl", KEY.public)


def test_an_honest_run_verifies_to_its_last_record(folder):
    found = verified(folder)
    records, _ = read_records(folder / "run")
    assert (found.records, found.anchored, found.attempts) == (ROUNDS + 1, ROUNDS + 1, 1)
    assert (found.run, found.head, found.files) == (records[0].run, records[-1].digest, 6)
    assert found.checkpoints == ROUNDS + 2  # one more for the failed round
    assert found.notes == ()
    json.dumps(found.to_json())


def test_without_a_checkpoint_from_outside_it_says_so(folder):
    assert verify(folder / "run").anchored is None


@pytest.mark.parametrize("given", ["outside", "public"])
def test_a_checkpoint_without_its_key_is_refused_and_so_is_a_key_without_a_checkpoint(folder, given):
    with pytest.raises(InvalidValue, match="go together"):
        verify(folder / "run", **{given: folder / "outside.jsonl" if given == "outside" else KEY.public})


# --- what can be done to a folder ------------------------------------------------------------------------------------


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def rewrite(path, change):
    path.write_bytes(b"".join(change(lines(path))))


def rewritten(rows, at, **changes):
    """A forged history: one record edited, and all after it linked and sealed again, by somebody who knows how."""
    from dataclasses import replace

    from ringfort.rounds import RoundRecord

    out, prev = rows[:at], ""
    for i, row in enumerate(rows[at:]):
        record, _ = RoundRecord.from_line(row[:-1])
        record = replace(record, **changes) if i == 0 else replace(record, prev=prev)
        out.append(record.line())
        prev = record.digest
    return out


def models(run, keep=slice(None)):
    records, _ = read_records(run)
    return [run / "models" / f"{record.next_model}.safetensors" for record in records[-3:]][keep]


def memories(run):
    records, _ = read_records(run)
    return [run / "models" / f"{record.memory}.memory" for record in records[-3:]]


def swap(a, b):
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


def edit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


DAMAGE = {
    "record edited": (
        lambda r: rewrite(r / "rounds.jsonl", lambda x: [*x[:2], x[2].replace(b"c1", b"c9"), *x[3:]]),
        "line 3",
    ),
    "record dropped": (lambda r: rewrite(r / "rounds.jsonl", lambda x: [*x[:2], *x[3:]]), "line 3"),
    "records swapped": (lambda r: rewrite(r / "rounds.jsonl", lambda x: [*x[:2], x[3], x[2], *x[4:]]), "line 3"),
    "record put in": (lambda r: rewrite(r / "rounds.jsonl", lambda x: [*x[:3], x[2], *x[3:]]), "line 4"),
    "records cut off": (lambda r: rewrite(r / "rounds.jsonl", lambda x: x[:-2]), "record 5 and those after"),
    "last record torn": (lambda r: rewrite(r / "rounds.jsonl", lambda x: [*x[:-1], x[-1][:-1]]), "record 6 and those"),
    "history rewritten": (lambda r: rewrite(r / "rounds.jsonl", lambda x: rewritten(x, 3, absent=("c9",))), "line 4"),
    "records emptied": (lambda r: (r / "rounds.jsonl").write_bytes(b""), "no record"),
    "records gone": (lambda r: (r / "rounds.jsonl").unlink(), "cannot read"),
    "model edited": (lambda r: edit(models(r)[-1]), "round 5"),
    "model cut": (lambda r: models(r)[-1].write_bytes(b""), "round 5"),
    "models swapped": (lambda r: swap(*models(r, slice(1, 3))), "round 4"),
    "model gone": (lambda r: models(r)[-2].unlink(), "round 4"),
    "memory edited": (lambda r: edit(memories(r)[-1]), "round 5"),
    "memories swapped": (lambda r: swap(*memories(r)[1:]), "round 4"),
    "memory gone": (lambda r: memories(r)[-1].unlink(), "round 5"),
    "attempt edited": (
        lambda r: rewrite(r / "attempts.jsonl", lambda x: [x[0].replace(b"c1", b"c9")]),
        "line 1 of attempts",
    ),
    "attempts gone": (lambda r: (r / "attempts.jsonl").unlink(), "round 2 names a failed round"),
    "checkpoint edited": (
        lambda r: rewrite(r / "checkpoints.jsonl", lambda x: [x[0].replace(b'"size":1', b'"size":2'), *x[1:]]),
        "line 1 of checkpoints",
    ),
    "checkpoints moved": (lambda r: rewrite(r / "checkpoints.jsonl", lambda x: x[::-1]), "follows one of size"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_whatever_was_done_to_a_folder_is_found_and_named(folder, name):
    damage, said = DAMAGE[name]
    damage(folder / "run")
    with pytest.raises((BrokenChain, BadProof), match=said):
        verified(folder)


@pytest.mark.parametrize("name", ["records cut off", "history rewritten", "last record torn", "attempts gone"])
def test_a_run_is_not_resumed_on_a_log_that_is_not_what_its_checkpoints_say(toy, folder, name):
    DAMAGE[name][0](folder / "run")
    before = (folder / "run" / "rounds.jsonl").read_bytes()
    with pytest.raises(BrokenChain):
        run(toy, folder)
    assert (folder / "run" / "rounds.jsonl").read_bytes() == before


def test_a_folder_rolled_back_as_a_whole_is_found_by_a_checkpoint_from_outside_and_by_nothing_else(toy, tmp_path):
    run(toy, tmp_path, rounds=2)
    shutil.copytree(tmp_path / "run", tmp_path / "old")
    run(toy, tmp_path)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "old").rename(tmp_path / "run")
    assert verify(tmp_path / "run").records == 3, "nothing in the folder says that it is old"
    with pytest.raises(BrokenChain, match=r"holds 3 records, outside\.jsonl says"):
        verified(tmp_path)


def test_a_rewritten_history_needs_the_key_to_pass(folder):
    """The whole folder, checkpoints included, forged by somebody without the log's key."""
    rewrite(folder / "run" / "rounds.jsonl", lambda x: rewritten(x, 3, absent=("c9",)))
    (folder / "run" / "checkpoints.jsonl").unlink()
    forged = verify(folder / "run")
    assert forged.records == ROUNDS + 1
    with pytest.raises(BrokenChain, match=r"line 4 of rounds.jsonl is not the record that outside.jsonl covered"):
        verified(folder)


def test_fewer_checkpoints_name_a_stretch(folder):
    rewrite(folder / "run" / "rounds.jsonl", lambda x: rewritten(x, 3, absent=("c9",)))
    (folder / "run" / "checkpoints.jsonl").unlink()
    rewrite(folder / "outside.jsonl", lambda x: [x[1], x[-1]])
    with pytest.raises(BrokenChain, match=rf"one of lines 3 to {ROUNDS + 1} of"):
        verified(folder)


def test_a_checkpoint_by_another_key_proves_nothing(folder):
    with pytest.raises(BadProof, match="not the one given"):
        verify(folder / "run", folder / "outside.jsonl", OTHER.public)


def test_a_checkpoint_of_another_run_proves_nothing(toy, folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    run(toy, other)
    with pytest.raises(BadProof, match="no checkpoint of the run"):
        verify(folder / "run", other / "outside.jsonl", KEY.public)


def test_a_ledger_that_was_rewritten_no_longer_has_what_the_records_were_paid_with(toy, tmp_path):
    run(toy, tmp_path, rounds=3, private=True)
    ledger = tmp_path / "run" / "privacy.jsonl"
    assert verified(tmp_path).charges == 3
    rows = lines(ledger)
    ledger.write_bytes(b"".join(rows[:-1]))
    with pytest.raises(
        BrokenChain, match=r"round 3 was paid for by a line that is not, or no longer, in privacy.jsonl"
    ):
        verified(tmp_path)
    ledger.write_bytes(b"".join([rows[0], *rows[2:]]))
    with pytest.raises(BrokenChain, match=r"privacy.jsonl: line 2 of the ledger"):
        verified(tmp_path)
    ledger.unlink()
    with pytest.raises(BrokenChain, match="round 1 was charged to"):
        verified(tmp_path)


# --- clocks, keys, places --------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_is_noted_and_changes_nothing_else(toy, tmp_path):
    day = timedelta(days=1)
    moments = itertools.cycle(datetime(2026, 5, 5, tzinfo=UTC) + day * n for n in (0, 1, -1, 0))
    run(toy, tmp_path, clock=lambda: next(moments))
    found = verified(tmp_path)
    assert found.anchored == ROUNDS + 1
    assert any("clock went back" in note for note in found.notes)


def test_a_new_key_is_noted(toy, tmp_path):
    run(toy, tmp_path, rounds=2)
    run(toy, tmp_path, key=OTHER)
    found = verify(tmp_path / "run")
    assert any(OTHER.public.hex()[:16] in note for note in found.notes)


def test_the_last_checkpoint_is_issued_again_if_a_place_did_not_take_it(toy, tmp_path):
    class Deaf:
        def __call__(self, line):
            raise OutputUnwritable("the line is dead")

    with Journal(tmp_path, Signing(KEY, (Deaf(),))) as journal, pytest.raises(OutputUnwritable, match="dead"):
        toy.federation(journal=journal).run()
    assert len(read_records(tmp_path)[0]) == 1
    heard = []
    Journal(tmp_path, Signing(KEY, (heard.append,))).close()
    assert [Checkpoint.from_line(line[:-1]).size for line in heard] == [1]


def test_a_new_file_outside_keeps_its_name_through_a_power_cut(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    path = tmp_path / "outside.jsonl"
    for _ in range(2):
        ToFile(path)(b"line\n")
    assert synced == [str(path), str(tmp_path), str(path)]


def test_a_file_elsewhere_begins_a_new_line_after_one_that_was_cut(tmp_path):
    path = tmp_path / "outside.jsonl"
    path.write_bytes(b'{"cut')
    ToFile(path)(b"line\n")
    assert path.read_bytes() == b'{"cut\nline\n'


def test_a_command_gets_the_line_on_its_standard_input_and_must_end_with_zero(tmp_path):
    out = tmp_path / "taken"
    script = f"import sys; open({str(out)!r}, 'ab').write(sys.stdin.buffer.read())"
    place(f'exec:{sys.executable} -c "{script}"', commands=True)(b"line\n")
    assert out.read_bytes() == b"line\n"
    with pytest.raises(OutputUnwritable, match="ended with 3"):
        ToCommand((sys.executable, "-c", "raise SystemExit(3)"))(b"line\n")
    with pytest.raises(OutputUnwritable, match="did not take"):
        ToCommand((sys.executable, "-c", "import time; time.sleep(60)"), seconds=0.2)(b"line\n")


def test_a_command_is_no_shell(tmp_path):
    place(f"exec:echo ; touch {tmp_path}/shell", commands=True)(b"line\n")
    assert not (tmp_path / "shell").exists()


@pytest.mark.parametrize("text", ["exec:", "exec:no-such-program-here", "exec:'", ""])
def test_a_place_that_is_none_is_refused_at_once(text):
    with pytest.raises(InvalidValue):
        place(text, commands=True)


def test_a_recipe_names_no_commands():
    with pytest.raises(InvalidValue, match="does not name programs"):
        place("exec:true", commands=False)


def test_a_place_that_cannot_be_written_ends_the_run(toy, tmp_path):
    signing = Signing(KEY, (ToFile(tmp_path / "none" / "x"),))
    with Journal(tmp_path / "run", signing) as journal, pytest.raises(OutputUnwritable, match="cannot append"):
        toy.federation(journal=journal).run()


def test_a_public_key_is_given_as_text_or_as_a_file(tmp_path):
    (tmp_path / "k.pub").write_text(KEY.public.hex() + "\n")
    assert public_key(KEY.public.hex()) == public_key(str(tmp_path / "k.pub")) == KEY.public
    for bad in ("", "00", "x" * 64, str(tmp_path), "a" * 5000):
        with pytest.raises(InvalidValue):
            public_key(bad)


# --- failed rounds ---------------------------------------------------------------------------------------------------


def test_a_failed_round_says_who_and_why_and_the_next_record_names_it(folder):
    ((attempt,), _), records = read_attempts(folder / "run"), read_records(folder / "run")[0]
    assert (attempt.round, attempt.code, attempt.after) == (2, "RF604", records[1].digest)
    assert [f.error for f in attempt.failures] == ["ValueError: =SUM(A1)"] * 5
    assert [record.attempts for record in records] == ["", "", *[attempt.digest] * (ROUNDS - 1)]


def test_a_round_with_too_few_clients_for_its_rule_is_recorded_too(toy, tmp_path):
    tricks = {f"c{i}": toy.absent for i in range(3)} | {"c3": toy.says(b"pickle")}
    with Journal(tmp_path) as journal, pytest.raises(ToleranceExceeded):
        toy.federation(rule=TrimmedMean(f=2), tricks=tricks, journal=journal).run()
    (attempt,), _ = read_attempts(tmp_path)
    assert attempt.code == "RF301"
    assert [r.client for r in attempt.refusals] == ["c3"]
    assert attempt.absent == ("c0", "c1", "c2")


def test_a_torn_failed_round_is_dropped(toy, folder):
    rewrite(folder / "run" / "attempts.jsonl", lambda x: [*x, x[0][:50]])
    assert verified(folder).attempts == 1
    run(toy, folder, rounds=ROUNDS + 1)
    assert verified(folder).records == ROUNDS + 2


# --- proofs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(ROUNDS + 1))
def test_a_proof_of_any_round_needs_nothing_but_the_key(folder, number):
    found = check(as_document(prove(folder / "run", number)), KEY.public)
    assert found.record == read_records(folder / "run")[0][number]
    assert found.checkpoint.size == ROUNDS + 1


def test_a_proof_against_an_older_checkpoint(folder, tmp_path):
    (tmp_path / "third").write_bytes(lines(folder / "outside.jsonl")[2])
    assert check(as_document(prove(folder / "run", 1, tmp_path / "third")), KEY.public).checkpoint.size == 2
    with pytest.raises(InvalidValue, match="covers round 3"):
        prove(folder / "run", 3, tmp_path / "third")
    with pytest.raises(InvalidValue, match="rounds 0 to 5"):
        prove(folder / "run", 6)


def test_the_log_only_grew(folder, tmp_path):
    for row in lines(folder / "outside.jsonl"):
        (tmp_path / "old").write_bytes(row)
        found = check(as_document(prove_consistency(folder / "run", tmp_path / "old")), KEY.public)
        assert found.old == Checkpoint.from_line(row[:-1])


def changed(value, path, new):
    out = json.loads(json.dumps(value))
    at = out
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return out


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("record", "rule"), "Krum(f=1)"),
        (("record", "round"), 3),
        (("path", 0), "00" * 32),
        (("path",), []),
        (("path",), ["00" * 32] * 65),
        (("path",), None),
        (("checkpoint", "size"), 7),
        (("checkpoint", "root"), "00" * 32),
        (("checkpoint", "origin"), "other"),
        (("checkpoint", "time"), "2027-01-01T00:00:00Z"),
        (("checkpoint", "attempts"), ""),
        (("checkpoint", "signature"), "00" * 64),
        (("checkpoint", "key"), OTHER.public.hex()),
        (("record",), None),
        (("kind",), "consistency"),
        (("v",), 2),
        (("more",), 1),
    ],
    ids=str,
)
def test_a_proof_that_was_altered_shows_nothing(folder, path, new):
    proof = prove(folder / "run", 2)
    assert check(as_document(proof), KEY.public)
    with pytest.raises(BadProof):
        check(as_document(changed(proof, path, new)), KEY.public)


def test_a_proof_by_another_key_shows_nothing(folder):
    with pytest.raises(BadProof, match="not the one given"):
        check(as_document(prove(folder / "run", 2)), OTHER.public)


def test_no_proof_from_a_log_that_is_not_what_was_signed(folder):
    rewrite(folder / "run" / "rounds.jsonl", lambda x: rewritten(x, 3, absent=("c9",)))
    with pytest.raises(RingfortError):
        prove(folder / "run", 3)


# --- export ----------------------------------------------------------------------------------------------------------


def test_the_records_are_exported_as_they_are(folder):
    records = (folder / "run" / "rounds.jsonl").read_bytes()
    assert b"".join(rows_jsonl(folder / "run")) == records + (folder / "run" / "attempts.jsonl").read_bytes()


def test_a_spreadsheet_gets_a_row_per_client_and_no_formula(toy, tmp_path):
    def says(name, frame, honest):
        return Failure(name, '=cmd|"/c calc"!A1')

    with Journal(tmp_path) as journal:
        toy.federation(tricks={"c4": says, "c3": toy.absent}, rounds=2, journal=journal).run()
    rows = list(csv.DictReader(io.StringIO(b"".join(rows_csv(tmp_path)).decode())))
    assert [(row["round"], row["client"], row["outcome"]) for row in rows[:5]] == [
        *(("1", f"c{i}", "accept") for i in range(3)),
        ("1", "c4", "failed"),
        ("1", "c3", "absent"),
    ]
    assert rows[3]["detail"] == """'=cmd|"/c calc"!A1"""
    assert not any(cell[:1] in "=+-@\t\r" for row in rows for cell in row.values() if cell)


def test_checkpoints_are_read_as_they_were_written(folder):
    inside, _ = read_checkpoints(folder / "run" / "checkpoints.jsonl")
    outside, _ = read_checkpoints(folder / "outside.jsonl")
    assert inside == outside
    assert [c.size for c in inside] == [1, 2, 2, *range(3, ROUNDS + 2)]


def test_a_read_only_disk_is_refused_at_once(tmp_path, monkeypatch):
    plain = os.open

    def read_only(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(30, "Read-only file system")
        return plain(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OutputUnwritable, match="Read-only file system"):
        Journal(tmp_path)
