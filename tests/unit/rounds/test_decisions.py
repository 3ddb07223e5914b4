"""What people decide: durable lines, read strictly."""

import json
import threading

import pytest

from ringfort.core import client_id
from ringfort.core.errors import IntegrityError, InvalidValue, OutputUnwritable, UnknownName
from ringfort.rounds.decisions import Decision, Decisions

ODD = Decision("quarantine", client_id("c1"), "looks odd", "ann", 3)
FREE = Decision("release", client_id("c1"), "it was a bad disk", "bob")


def test_what_is_appended_is_read_back_in_order(tmp_path):
    desk = Decisions(tmp_path)
    assert desk.read() == () == desk.since(0)
    assert [desk.append(one) for one in (ODD, FREE, ODD)] == [1, 2, 3]
    assert desk.read() == (ODD, FREE, ODD)
    assert desk.since(1) == (FREE, ODD)
    assert desk.since(3) == ()


def test_the_file_is_canonical_json_lines(tmp_path):
    Decisions(tmp_path).append(ODD)
    line = Decisions(tmp_path).path.read_bytes()
    assert line == (b'{"action":"quarantine","by":"ann","client":"c1","reason":"looks odd","rounds":3,"v":1}\n')


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"action": "ban"}, UnknownName),
        ({"client": "C 1"}, InvalidValue),
        ({"reason": " "}, InvalidValue),
        ({"reason": "a\nb"}, InvalidValue),
        ({"reason": "x" * 501}, InvalidValue),
        ({"by": ""}, InvalidValue),
        ({"rounds": None}, InvalidValue),
        ({"rounds": 0}, InvalidValue),
        ({"rounds": True}, InvalidValue),
        ({"action": "release"}, InvalidValue),
        ({"action": "revoke"}, InvalidValue),
    ],
)
def test_a_decision_that_makes_no_sense_is_not_one(change, error):
    given = {"action": "quarantine", "client": "c1", "reason": "odd", "by": "ann", "rounds": 3}
    Decision(**given)
    with pytest.raises(error):
        Decision(**{**given, **change})


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_last_line_is_left_out_and_the_next_writer_removes_it(tmp_path, cut):
    desk = Decisions(tmp_path)
    desk.append(ODD)
    whole = desk.path.read_bytes()
    desk.path.write_bytes(whole + whole[:cut])
    assert desk.read() == (ODD,)
    assert desk.append(FREE) == 2
    assert desk.read() == (ODD, FREE)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b"\xff",
        b"[" * 100_000,
        b'{"v":2,"action":"revoke","client":"c1","reason":"x","by":"y"}',
        b'{"v":1,"action":"revoke","client":"c1","reason":"x"}',
        b'{"v":1,"action":"revoke","client":"c1","reason":"x","by":"y","extra":1}',
        b'{"v":1,"action":"revoke","client":1,"reason":"x","by":"y"}',
        b'{"v":1,"action":["revoke"],"client":"c1","reason":"x","by":"y"}',
        b'{"v":1,"action":"quarantine","client":"c1","reason":"x","by":"y","rounds":1.5}',
    ],
)
def test_a_whole_line_that_is_no_decision_is_an_error_with_its_number(tmp_path, line):
    desk = Decisions(tmp_path)
    desk.append(ODD)
    desk.path.write_bytes(desk.path.read_bytes() + line + b"\n")
    with pytest.raises(IntegrityError, match="line 2"):
        desk.read()
    with pytest.raises(IntegrityError, match="line 2"):
        desk.append(FREE)


def test_lines_that_were_applied_and_are_gone_are_noticed(tmp_path):
    Decisions(tmp_path).append(ODD)
    with pytest.raises(IntegrityError, match="has 1 decisions, and the round records say that 2 were applied"):
        Decisions(tmp_path).since(2)


def test_writers_take_turns(tmp_path):
    def write(name):
        for _ in range(20):
            Decisions(tmp_path).append(Decision("revoke", client_id(name), "x", name))

    threads = [threading.Thread(target=write, args=(f"t{i}",)) for i in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    found = Decisions(tmp_path).read()
    assert len(found) == 80
    assert {name: sum(one.by == name for one in found) for name in ("t0", "t1", "t2", "t3")} == dict.fromkeys(
        ("t0", "t1", "t2", "t3"), 20
    )
    assert all(json.loads(line) for line in Decisions(tmp_path).path.read_bytes().splitlines())


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(OutputUnwritable):
        Decisions(tmp_path / "none").append(ODD)
