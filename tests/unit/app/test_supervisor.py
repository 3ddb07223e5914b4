"""The supervisor of `ringfort up` over a journal that another process writes; real ones: tests/scenario/test_up.py."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("nvflare")

from ringfort.app import deploy
from ringfort.app.deploy import Supervisor
from ringfort.core.errors import BrokenChain, EngineError, JobAborted
from ringfort.core.values import client_id
from ringfort.rounds.record import RoundRecord

NAMES = tuple(client_id(f"client-0{i}") for i in range(3))


def chain(count):
    made = []
    for number in range(count):
        made.append(
            RoundRecord(
                run="run", round=number, recipe="r", cohort=(), rule="Mean()", model="m", aggregate="a", next_model="m",
                verdicts=(), refusals=(), failures=(), absent=(), metrics={}, prev=made[-1].digest if made else "",
            )
        )  # fmt: skip
    return made


class Jobs:
    """A deployment whose jobs write what they are told to, and end as they are told to."""

    def __init__(self, run, *jobs):
        self.run, self.jobs, self.left_out, self.number = run, list(jobs), [], 0
        self.outcome = run / "outcome.json"

    def start(self, without):
        self.left_out.append(set(without))

    def submit(self, digest, sites):
        self.number += 1
        return SimpleNamespace(run=f"job-{self.number}", sites=sites)

    def watch(self, job, done):
        lines, self.dead, status = self.jobs.pop(0)
        assert not done()
        for line in lines:
            with (self.run / "rounds.jsonl").open("ab") as file:
                file.write(line[:9])
                file.flush()
                assert not done()
                file.write(line[9:])
        if status is None:
            raise JobAborted("a process is gone")
        self.outcome.write_text(json.dumps({"run": job.run, "status": status}))
        assert done()

    def culprits(self, job):
        return self.dead

    def clear(self, job):
        return True

    def close(self):
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "_SETTLE_S", 0)
    (tmp_path / "rounds.jsonl").touch()
    return tmp_path


def supervisor(jobs, seen):
    return Supervisor(jobs, jobs.run, jobs.outcome, "r", NAMES, (), lambda record: seen.append(record.round))


def test_jobs_follow_each_other_and_every_round_is_told_once(run):
    lines = [record.line() for record in chain(5)]
    (run / "rounds.jsonl").write_bytes(lines[0] + lines[1])  # the run is resumed
    jobs = Jobs(run, (lines[2:4], (NAMES[1],), None), (lines[4:], (), "done"))
    seen = []
    made = supervisor(jobs, seen)
    made.go()
    assert seen == [0, 1, 2, 3, 4]
    assert jobs.left_out == [set(), {NAMES[1]}]
    written = [json.loads(line) for line in (run / "engine.jsonl").read_bytes().splitlines()]
    assert written == [event.to_json() for event in made.events]
    assert [(each["what"], each["round"]) for each in written] == [("submitted", 1), ("ended", 3), ("resubmitted", 3)]


def test_three_jobs_without_a_round_end_the_run(run):
    seen = []
    with pytest.raises(EngineError, match="3 jobs"):
        supervisor(Jobs(run, *[([], (), None)] * 3), seen).go()
    assert seen == []


def test_a_record_that_breaks_the_chain_ends_the_run(run):
    lines = [record.line() for record in chain(4)]
    seen = []
    with pytest.raises(BrokenChain, match="record 2 "):
        supervisor(Jobs(run, ([lines[0], lines[1], lines[3]], (), "done")), seen).go()
    assert seen == [0, 1]
