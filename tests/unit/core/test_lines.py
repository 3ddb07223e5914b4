"""Files of lines: one writer at a time, for life or in turns; killed or with a full disk at any place of a write."""

import os
import signal
import threading
from datetime import UTC, datetime

import pytest

from ringfort.core import client_id, lines
from ringfort.core.errors import OutputUnwritable
from ringfort.core.failpoints import POINTS, arm
from ringfort.core.lines import LineFile, append_in_turn, append_line, last_lines, whole_lines
from ringfort.engine.signed.receipts import RECEIPTS_FILE, Receipts
from ringfort.engine.signed.taken import TAKEN_FILE, Said, TakenLog
from ringfort.identity.messages import Place
from ringfort.rounds.decisions import Decision, Decisions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def decide(folder, text):
    Decisions(folder).append(Decision("revoke", client_id("c1"), text, "ann"))
    return folder / "decisions.jsonl"


def take(folder, text):
    log = TakenLog(folder)
    log.taken(client_id("c1"), 7, Said(place(), text.encode()), NOW)
    log.flush()
    return folder / TAKEN_FILE


def say(folder, text):
    Receipts(folder).said(place(), text.encode())
    return folder / RECEIPTS_FILE


def note(folder, text, kind="engine"):
    append_in_turn(folder / f"{kind}.jsonl", kind, text.encode() + b"\n" + text.encode() + b" again\n")
    return folder / f"{kind}.jsonl"


def proof(folder, text):
    return note(folder, text, "equivocations")


def place():
    return Place("run", 1, "train", "ab" * 32, bytes(32), bytes(32))


WRITERS = {"decisions": decide, "taken": take, "receipts": say, "engine": note, "equivocations": proof}
IN_TURN = [name for name in POINTS if name.partition(".")[0] in WRITERS]


@pytest.mark.parametrize("name", IN_TURN)
def test_a_kill_at_any_place_loses_no_line_that_was_written_before(tmp_path, name):
    kind, _, point = name.partition(".")
    write = WRITERS[kind]
    path = write(tmp_path, "first")
    before = path.read_bytes()
    pid = os.fork()
    if not pid:
        arm(name)
        write(tmp_path, "second")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    after = path.read_bytes()
    assert after.startswith(before)
    assert len(after) > len(before)
    assert (after[-1:] == b"\n") == (point != "half")
    there = whole_lines(after)
    write(tmp_path, "third")
    found = path.read_bytes()
    assert whole_lines(found)[: len(there)] == there
    assert found.endswith(b"\n")
    assert len(whole_lines(found)) == len(there) + len(whole_lines(before))


@pytest.mark.parametrize("name", [name for name in IN_TURN if not name.endswith("committed")])
def test_a_full_disk_takes_back_what_was_written_of_a_line(tmp_path, name):
    write = WRITERS[name.partition(".")[0]]
    path = write(tmp_path, "first")
    before = path.read_bytes()
    arm(f"{name}=enospc")
    with pytest.raises(OutputUnwritable, match="No space left"):
        write(tmp_path, "second")
    assert path.read_bytes() == before
    write(tmp_path, "third")
    assert path.read_bytes().startswith(before)


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_durable_is_synced_and_its_name_with_the_first_line(tmp_path, monkeypatch, durable):
    seen = []
    monkeypatch.setattr(lines.os, "fsync", lambda handle: seen.append(os.readlink(f"/proc/self/fd/{handle}")))
    path = tmp_path / "x.jsonl"
    append_in_turn(path, "engine", b"one\n", durable=durable)
    assert seen == ([str(path), str(tmp_path)] if durable else [])
    append_in_turn(path, "engine", b"two\n", durable=durable)
    assert seen == ([str(path), str(tmp_path), str(path)] if durable else [])
    assert path.read_bytes() == b"one\ntwo\n"


def test_only_what_a_client_says_of_itself_is_not_synced(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(lines.os, "fsync", lambda handle: seen.append(os.readlink(f"/proc/self/fd/{handle}")))
    paths = [write(tmp_path, "text") for write in WRITERS.values()]
    assert {path.name for path in paths if str(path) not in seen} == {RECEIPTS_FILE}


def test_a_held_file_refuses_a_second_writer_and_one_who_takes_turns_waits(tmp_path):
    path = tmp_path / "x.jsonl"
    with LineFile(path, "engine") as held:
        held.resume(0)
        with pytest.raises(OutputUnwritable, match="another process"):
            LineFile(path, "engine")
        waiting = threading.Thread(target=append_in_turn, args=(path, "engine", b"two\n"))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        append_line(held, b"one\n")
    waiting.join(30)
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("cut", [b"", b"half", b"x" * (3 << 16)])
@pytest.mark.parametrize("before", [b"", b"one\n", b"y" * (1 << 16) + b"\n"])
def test_the_next_writer_removes_what_was_cut(tmp_path, before, cut):
    path = tmp_path / "x.jsonl"
    path.write_bytes(before + cut)
    append_in_turn(path, "engine", b"two\n")
    assert path.read_bytes() == before + b"two\n"


def test_last_lines_are_whole_and_among_the_last_bytes(tmp_path):
    path = tmp_path / "x.jsonl"
    assert last_lines(path, 100) == []
    path.write_bytes(b"one\ntwo\nthree\nfo")
    assert last_lines(path, 100) == [b"one", b"two", b"three"]
    assert last_lines(path, 11) == [b"three"]
    assert last_lines(path, 1) == []


def test_what_was_said_and_taken_is_there_after_a_restart(tmp_path):
    take(tmp_path, "one")
    with (tmp_path / TAKEN_FILE).open("ab") as file:
        file.write(b'[1]\n{"client":"c1"}\nnot json\n' + b"[" * 100_000 + b'\n{"cut')
    assert TakenLog(tmp_path).last() == {"c1": (Said(place(), b"one"), NOW)}
    assert Receipts(tmp_path).last is None
    say(tmp_path, "two")
    assert Receipts(tmp_path).last == Said(place(), b"two")
    for other in (b"[1]\n", b"7\n", b"not json\n", b'{"receipt":"00"}\n', b'{"said":{}}\n'):
        say(tmp_path, "two")
        with (tmp_path / RECEIPTS_FILE).open("ab") as file:
            file.write(other)
        assert Receipts(tmp_path).last is None
