"""Ending what a killed supervisor left: processes are found by their kit, and until there are none."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringfort.engine.nvflare import processes


@pytest.fixture
def start():
    started = []

    def begin(*words):
        command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", *words]
        made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        made.stdout.read(1)  # its command line is its own by now
        started.append(made)
        return made

    yield begin
    for made in started:
        made.kill()
        made.communicate()


APP = "nvflare.private.fed.app.client.worker_process"


def test_only_processes_of_kits_below_the_folder_are_ended(tmp_path, start):
    (tmp_path / "run" / "client-01").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    mine = start(APP, str(tmp_path / "run" / "client-01"))
    others = [start(APP, str(tmp_path / "other")), start("else", str(tmp_path / "run" / "client-01"))]
    assert processes.end_orphans(tmp_path / "run") == 1
    assert mine.wait(5) == -9
    assert [other.poll() for other in others] == [None, None]


def test_a_process_that_was_started_while_its_parent_was_being_ended_is_ended_too(tmp_path, start, monkeypatch):
    (tmp_path / "server").mkdir()
    parent, child = (start(APP, str(tmp_path / "server")) for _ in range(2))
    looks = []

    def seen():
        looks.append(1)
        return [parent.pid] if len(looks) == 1 else [parent.pid, child.pid]

    monkeypatch.setattr(processes, "_processes", seen)
    assert processes.end_orphans(tmp_path) == 2
    assert (parent.wait(5), child.wait(5)) == (-9, -9)


def test_a_dying_process_is_waited_for_after_it_has_lost_its_command_line(tmp_path, start, monkeypatch):
    (tmp_path / "server").mkdir()
    dying = start(APP, str(tmp_path / "server"))
    belongs, running, waited = processes._belongs, processes.running, []
    monkeypatch.setattr(processes, "_belongs", lambda pid, kit: len(waited) < 2 and belongs(pid, kit))

    def still(pid):
        if pid == dying.pid:
            waited.append(1)
            return len(waited) < 5
        return running(pid)

    monkeypatch.setattr(processes, "running", still)
    assert processes.end_orphans(tmp_path) == 1
    assert len(waited) >= 5


def test_a_folder_without_kits_has_no_orphans(tmp_path):
    assert processes.end_orphans(tmp_path / "nothing") == 0


def test_a_process_whose_first_thread_is_gone_runs_until_its_last_is():
    leave = (
        "import ctypes, sys, threading; threading.Thread(target=sys.stdin.read).start(); print(flush=True);"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    made = subprocess.Popen([sys.executable, "-c", leave], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    made.stdout.read(1)
    stat = Path(f"/proc/{made.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert processes.running(made.pid), "its files are open, and its locks held"
    made.kill()
    made.communicate()
    assert not processes.running(made.pid)
