import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ringfort.core.errors import BadCheckpoint, BrokenChain, OutputUnwritable
from ringfort.core.tensors import digest_of
from ringfort.engine import Workers
from ringfort.rounds import Journal, RoundRecord, read_records
from ringfort.rounds.attempts import Attempt


def record_after(head, model, **changes):
    base = RoundRecord("run", 0, "recipe", (), "Mean()", "", "", "", (), (), (), (), {}, "")
    if head is not None:
        base = replace(base, round=head.round + 1, model=head.next_model, prev=head.digest)
    return replace(base, next_model=digest_of(model), **changes)


def write(folder, rounds=6):
    with Journal(folder) as journal:
        for i in range(rounds):
            model = f"model {i}".encode()
            journal.commit(record_after(journal.head, model), model)
        return journal.records


def lines(folder):
    return (folder / "rounds.jsonl").read_bytes().splitlines(keepends=True)


def put(folder, new):
    (folder / "rounds.jsonl").write_bytes(b"".join(new))


def test_what_was_committed_is_read_back_in_order(tmp_path):
    written = write(tmp_path)
    records, size = read_records(tmp_path)
    assert records == written
    assert size == (tmp_path / "rounds.jsonl").stat().st_size
    with Journal(tmp_path) as journal:
        assert journal.head == written[-1]


def test_only_the_last_three_models_are_kept(tmp_path):
    records = write(tmp_path)
    kept = {path.name for path in (tmp_path / "models").iterdir()}
    assert kept == {f"{record.next_model}.safetensors" for record in records[-3:]}
    with Journal(tmp_path) as journal:
        assert [journal.model(r.next_model) for r in records[-3:]] == [b"model 3", b"model 4", b"model 5"]
        with pytest.raises(BadCheckpoint, match="is not in"):
            journal.model(records[0].next_model)


def test_a_model_that_comes_back_is_kept_though_it_was_forgotten_before(tmp_path):
    with Journal(tmp_path) as journal:
        for model in (b"a", b"b", b"c", b"d", b"a", b"a", b"b", b"a"):
            journal.commit(record_after(journal.head, model), model)
        assert journal.model(digest_of(b"a")) == b"a"
        assert journal.model(digest_of(b"b")) == b"b"
        assert len(list((tmp_path / "models").iterdir())) == 2


def test_what_a_killed_writer_left_is_swept_at_the_next_start(tmp_path):
    records = write(tmp_path)
    models = tmp_path / "models"
    (models / f".{'0' * 64}.safetensors.123.tmp").write_bytes(b"half")
    (models / f"{records[1].next_model}.safetensors").write_bytes(b"model 1")
    Journal(tmp_path).close()
    assert len(list(models.iterdir())) == 3


# --- tampering ----------------------------------------------------------------------------------------------------


def edited(line, **changes):
    value = json.loads(line)
    value.update(changes)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def resealed(line, **changes):
    """An edit by somebody who knows how digests are made."""
    value = json.loads(line)
    del value["digest"]
    made = RoundRecord(
        **{**{k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k != "v"}, **changes}
    )
    return made.line()


TAMPERING = {
    "edited": (3, lambda rows: [*rows[:2], edited(rows[2], rule="Krum(f=1)"), *rows[3:]]),
    "edited and resealed": (4, lambda rows: [*rows[:2], resealed(rows[2], rule="Krum(f=1)"), *rows[3:]]),
    "genesis resealed": (2, lambda rows: [resealed(rows[0], recipe="other"), *rows[1:]]),
    "dropped": (3, lambda rows: [*rows[:2], *rows[3:]]),
    "first dropped": (1, lambda rows: rows[1:]),
    "reordered": (3, lambda rows: [*rows[:2], rows[3], rows[2], *rows[4:]]),
    "duplicated": (4, lambda rows: [*rows[:3], rows[2], *rows[3:]]),
    "last duplicated": (7, lambda rows: [*rows, rows[-1]]),
    "inserted": (4, lambda rows: [*rows[:3], resealed(rows[2], prev=json.loads(rows[2])["digest"]), *rows[3:]]),
    "another run": (4, lambda rows: [*rows[:3], resealed(rows[3], run="other"), *rows[4:]]),
    "other model before": (4, lambda rows: [*rows[:3], resealed(rows[3], model="00" * 32), *rows[4:]]),
    "blank line": (3, lambda rows: [*rows[:2], b"\n", *rows[2:]]),
    "no json": (3, lambda rows: [*rows[:2], b"hello\n", *rows[3:]]),
    "not a map": (3, lambda rows: [*rows[:2], b"[1,2]\n", *rows[3:]]),
    "deep": (3, lambda rows: [*rows[:2], b"[" * 100_000 + b"\n", *rows[3:]]),
    "not utf-8": (3, lambda rows: [*rows[:2], b'{"v":"\xff"}\n', *rows[3:]]),
    "lone surrogate": (3, lambda rows: [*rows[:2], rows[2].replace(b'"Mean()"', b'"\\ud800"'), *rows[3:]]),
    "nan": (3, lambda rows: [*rows[:2], rows[2].replace(b'"metrics":{}', b'"metrics":{"a":NaN}'), *rows[3:]]),
    "spaces": (3, lambda rows: [*rows[:2], rows[2].replace(b":", b": "), *rows[3:]]),
    "carriage returns": (1, lambda rows: [row[:-1] + b"\r\n" for row in rows]),
    "one carriage return for a line feed": (3, lambda rows: [*rows[:2], rows[2][:-1] + b"\r", *rows[3:]]),
    "extra field": (3, lambda rows: [*rows[:2], edited(rows[2], note="x"), *rows[3:]]),
    "key twice": (3, lambda rows: [*rows[:2], rows[2].replace(b'{"', b'{"v":1,"', 1), *rows[3:]]),
    "another version": (3, lambda rows: [*rows[:2], edited(rows[2], v=2), *rows[3:]]),
    "traceback a number": (
        3,
        lambda rows: [
            *rows[:2],
            edited(rows[2], failures=[{"client": "a", "error": "b", "traceback": 5}]),
            *rows[3:],
        ],
    ),
    "first byte gone": (1, lambda rows: [rows[0][1:], *rows[1:]]),
    "zeros in front": (1, lambda rows: [b"\0" * 8, *rows]),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_a_journal_that_was_tampered_with_names_the_first_bad_line(tmp_path, name):
    write(tmp_path)
    number, tamper = TAMPERING[name]
    put(tmp_path, tamper(lines(tmp_path)))
    with pytest.raises(BrokenChain, match=f"line {number} of rounds.jsonl"):
        read_records(tmp_path)
    before = (tmp_path / "rounds.jsonl").read_bytes()
    with pytest.raises(BrokenChain):
        Journal(tmp_path)
    assert (tmp_path / "rounds.jsonl").read_bytes() == before


def test_a_refused_journal_lets_go_of_its_lock(tmp_path):
    write(tmp_path)
    rows = lines(tmp_path)
    put(tmp_path, rows[1:])
    with pytest.raises(BrokenChain):
        Journal(tmp_path)
    put(tmp_path, rows)
    Journal(tmp_path).close()


def test_cutting_whole_rounds_off_the_end_leaves_a_valid_journal_so_the_head_must_be_kept_elsewhere(tmp_path):
    written = write(tmp_path)
    put(tmp_path, lines(tmp_path)[:-2])
    assert read_records(tmp_path)[0] == written[:-2]


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_last_line_cut_by_a_crash_was_never_committed_and_is_dropped(tmp_path, kept):
    written = write(tmp_path)
    rows = lines(tmp_path)
    put(tmp_path, [*rows[:-1], rows[-1][:kept]])
    with Journal(tmp_path) as journal:
        assert journal.records == written[:-1]
        journal.commit(record_after(journal.head, b"again"), b"again")
    records, size = read_records(tmp_path)
    assert [record.round for record in records] == [0, 1, 2, 3, 4, 5]
    assert size == (tmp_path / "rounds.jsonl").stat().st_size


# --- models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["edited", "truncated", "emptied", "removed", "swapped"])
def test_a_model_that_is_not_what_the_record_names_is_never_loaded(tmp_path, damage):
    records = write(tmp_path)
    path, other = (tmp_path / "models" / f"{record.next_model}.safetensors" for record in records[:-3:-1])
    data = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        new = {"edited": b"Model" + data[5:], "truncated": data[:-1], "emptied": b"", "swapped": other.read_bytes()}
        path.write_bytes(new[damage])
    with Journal(tmp_path) as journal, pytest.raises(BadCheckpoint):
        journal.model(records[-1].next_model)


# --- one writer ---------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit(record_after(None, b"a"), b"a")
        with pytest.raises(OutputUnwritable, match="another process"):
            Journal(tmp_path)
        journal.commit(record_after(journal.head, b"b"), b"b")
    with Journal(tmp_path) as journal:
        assert len(journal.records) == 2


def test_a_second_process_is_refused(tmp_path):
    script = f"""
from pathlib import Path
from ringfort.core.errors import OutputUnwritable
from ringfort.rounds import Journal
try:
    Journal(Path({str(tmp_path)!r}))
except OutputUnwritable as error:
    print(error.code)
"""
    with Journal(tmp_path):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "RF107\n"


def test_a_worker_that_inherited_the_journal_does_not_keep_it_locked(tmp_path):
    journal = Journal(tmp_path)
    with Workers(lambda task, emit: task, 1):
        journal.close()
        Journal(tmp_path).close()


def test_closing_twice_is_allowed(tmp_path):
    journal = Journal(tmp_path)
    journal.close()
    journal.close()


# --- no space -----------------------------------------------------------------------------------------------------


def in_a_child(work):
    """Run work() in a forked process; return what it returned, as text."""
    read, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, str(work()).encode())
        except BaseException as error:
            os.write(write_end, f"escaped: {error!r}".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


def limit(soft):
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("full", ["record", "model"])
def test_a_full_disk_is_an_error_of_its_own_and_costs_no_earlier_round(tmp_path, full):
    written = write(tmp_path, rounds=3)
    size = (tmp_path / "rounds.jsonl").stat().st_size

    def work():
        journal = Journal(tmp_path)
        model = b"small" if full == "record" else bytes(size * 2)
        limit(size + 10)
        try:
            journal.commit(record_after(journal.head, model), model)
        except OutputUnwritable as error:
            assert journal.records == written
            return error.code

    assert in_a_child(work) == "RF107"
    assert (tmp_path / "rounds.jsonl").stat().st_size == size
    assert read_records(tmp_path)[0] == written
    assert not list((tmp_path / "models").glob(".*"))


@pytest.mark.parametrize("torn", [False, True], ids=["clean", "after a torn line"])
def test_a_journal_goes_on_when_space_returns(tmp_path, torn):
    write(tmp_path, rounds=3)
    whole = (tmp_path / "rounds.jsonl").read_bytes()
    if torn:
        (tmp_path / "rounds.jsonl").write_bytes(whole + whole[:200])

    def work():
        journal = Journal(tmp_path)
        limit(len(whole) + 10)
        for _ in range(2):
            with pytest.raises(OutputUnwritable):
                journal.commit(record_after(journal.head, b"x"), b"x")
        limit(resource.RLIM_INFINITY)
        journal.commit(record_after(journal.head, b"x"), b"x")
        journal.commit(record_after(journal.head, b"y"), b"y")
        journal.close()
        return "fine"

    assert in_a_child(work) == "fine"
    assert [record.round for record in read_records(tmp_path)[0]] == [0, 1, 2, 3, 4]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_at_once(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputUnwritable):
        Journal(tmp_path / "run")


def test_a_file_where_the_folder_should_be_is_refused_at_once(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputUnwritable, match="cannot write"):
        Journal(tmp_path / "run")


def test_the_frozen_journal_still_verifies():
    folder = Path(__file__).parents[2] / "vectors" / "journal" / "v1"
    records, _ = read_records(folder)
    assert len(records) == 3
    assert records[-1].digest == (folder / "head.txt").read_text().strip()
    assert records[2].failures[0].error == "ValueError: é 😀"


def test_failed_rounds_that_cannot_be_read_are_not_written_over(tmp_path):
    """The file is damaged while the run goes on: no attempt to record a failure writes into it."""
    attempt = Attempt("run", 1, "ab" * 32, (), "RF604", "nobody", (), (), ())
    with Journal(tmp_path) as journal:
        journal.commit(record_after(None, b"model"), b"model")
        (tmp_path / "attempts.jsonl").write_bytes(b"{}\n")
        for _ in range(2):
            with pytest.raises(BrokenChain):
                journal.fail(attempt)
    assert (tmp_path / "attempts.jsonl").read_bytes() == b"{}\n"
