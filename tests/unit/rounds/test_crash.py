"""kill -9 at every durable step of a commit, and at random moments: no acknowledged round is lost, and it goes on."""

import contextlib
import os
import select
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ringfort.aggregate import TrimmedMean
from ringfort.rounds import Defence, Journal, read_records
from ringfort.rounds.decisions import Decision, Decisions

ROUNDS = 6


def child(work):
    """Fork; the child runs work(acknowledge). Returns (pid, pipe with what it acknowledged)."""
    read, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read
    try:
        os.close(read)
        work(lambda state: os.write(write_end, f"{state.round} {state.record.digest}\n".encode()))
    except BaseException:
        os._exit(70)
    os._exit(0)


def acknowledged(pipe):
    with os.fdopen(pipe, "rb") as file:
        return [
            (int(number), digest) for number, digest in (line.split() for line in file.read().decode().splitlines())
        ]


def train(toy, folder, rounds, acknowledge):
    with Journal(folder) as journal:
        for state in toy.federation(rounds=rounds, journal=journal).states():
            acknowledge(state)


def kill_at(number, *, after):
    """In this process: SIGKILL at the `number`-th fsync, rename, record write or removal; before it or `after` it."""
    done = 0

    def deadly(call):
        def wrapped(*args, **kwargs):
            nonlocal done
            done += 1
            if done == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **kwargs)
            finally:
                if done == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    os.fsync = deadly(os.fsync)
    os.replace = deadly(os.replace)
    os.unlink = deadly(os.unlink)
    plain = Journal.commit

    def commit(self, *committed):
        if not isinstance(self._file, Slow):
            self._file = Slow(self._file, deadly)
        return plain(self, *committed)

    Journal.commit = commit


class Slow:
    """The journal's file, written in two halves, so that a kill can fall between them."""

    def __init__(self, file, deadly):
        self._inner = file
        self.write = deadly(lambda rest: file.write(rest[: max(1, len(rest) // 2)]))

    def __getattr__(self, name):
        return getattr(self._inner, name)


@pytest.fixture(scope="module")
def reference():
    return {}


def check(toy, folder, acks, rounds, reference):
    """What must hold after any crash; then resume, and the result is that of a run without one."""
    records, _ = read_records(folder) if (folder / "rounds.jsonl").exists() else ((), 0)
    on_disk = [(record.round, record.digest) for record in records]
    assert on_disk[: len(acks)] == acks, "an acknowledged round was lost or changed"
    if "whole" not in reference:
        reference["whole"] = list(toy.federation(rounds=rounds).states())
    whole = reference["whole"]
    with Journal(folder) as journal:
        last = toy.federation(rounds=rounds, journal=journal).run()
    assert last.params.tobytes() == whole[-1].params.tobytes()
    assert last.history == whole[-1].history
    records, _ = read_records(folder)
    assert [record.next_model for record in records] == [state.record.next_model for state in whole]
    assert len(list((folder / "models").iterdir())) == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 20, 25, 26, 27, 28, 30])
def test_a_kill_at_any_durable_step_loses_no_acknowledged_round(toy, tmp_path, reference, number, after):
    def work(acknowledge):
        kill_at(number, after=after)
        train(toy, tmp_path, ROUNDS, acknowledge)

    pid, pipe = child(work)
    acks = acknowledged(pipe)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    check(toy, tmp_path, acks, ROUNDS, reference)


def test_the_kill_falls_on_every_kind_of_step(toy, tmp_path):
    seen = []

    def note(name, call):
        def wrapped(*args, **kwargs):
            seen.append(name)
            return call(*args, **kwargs)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "unlink"):
            patch.setattr(os, name, note(name, getattr(os, name)))
        train(toy, tmp_path, ROUNDS, lambda state: None)
    assert set(seen) == {"fsync", "replace", "unlink"}
    assert len(seen) >= 30


@pytest.mark.parametrize("trial", range(8))
def test_a_kill_at_a_random_moment_loses_no_acknowledged_round(toy, tmp_path, trial):
    rng = np.random.default_rng(trial)
    pid, pipe = child(lambda acknowledge: train(toy, tmp_path, 10_000, acknowledge))
    try:
        select.select([pipe], [], [], 10)
        time.sleep(float(rng.uniform(0, 0.06)))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    acks = acknowledged(pipe)
    assert acks
    records, _ = read_records(tmp_path)
    assert len(records) >= len(acks)
    check(toy, tmp_path, acks, len(records) + 2, {})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [9, 13, 17, 21, 24])
def test_a_kill_loses_no_standing_and_no_decision(toy, watch, tmp_path, number, after):
    """A client that was found, and one that a person put away, stay where they were; the rest goes on bit for bit."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        Decisions(folder).append(Decision("quarantine", "c4", "odd", "ann", 3))
    defence = Defence(TrimmedMean(f=1), watch("c1", since=2, until=3, term=2))

    def states(folder, journal):
        return toy.federation(
            rounds=ROUNDS, defence=defence, journal=journal, decisions=Decisions(folder).since
        ).states()

    def work(acknowledge):
        kill_at(number, after=after)
        with Journal(killed) as journal:
            for state in states(killed, journal):
                acknowledge(state)

    with Journal(whole) as journal:
        expected = list(states(whole, journal))
    pid, pipe = child(work)
    acks = acknowledged(pipe)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert len(acks) < ROUNDS + 1
    with Journal(killed) as journal:
        assert [(record.round, record.digest) for record in journal.records][: len(acks)] == acks
        last = list(states(killed, journal))[-1]
    assert last.params.tobytes() == expected[-1].params.tobytes()
    assert {name: values.tobytes() for name, values in last.memory.items()} == {
        name: values.tobytes() for name, values in expected[-1].memory.items()
    }
    records, _ = read_records(killed)
    assert [record.watch for record in records] == [state.record.watch for state in expected]
    assert {t["client"] for record in records for t in record.watch.get("transitions", ())} >= {"c1", "c4"}


def test_killed_twice_and_resumed_twice_it_still_ends_with_the_same_bits(toy, tmp_path, reference):
    for number in (9, 10):

        def work(acknowledge, number=number):
            kill_at(number, after=True)
            train(toy, tmp_path, ROUNDS, acknowledge)

        pid, pipe = child(work)
        os.close(pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    check(toy, tmp_path, [], ROUNDS, reference)


def test_a_commit_that_acknowledges_before_it_is_durable_would_be_caught(toy, tmp_path):
    def work(acknowledge):
        Path.replace = lambda self, target: None  # the model never arrives
        train(toy, tmp_path, ROUNDS, acknowledge)

    pid, pipe = child(work)
    acks = acknowledged(pipe)
    os.waitpid(pid, 0)
    with pytest.raises(Exception, match="RF702"):
        check(toy, tmp_path, acks, ROUNDS, {})
