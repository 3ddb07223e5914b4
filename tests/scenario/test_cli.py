"""The real command in a real process: what it imports, prints, exits with, and what it leaves after a signal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("numpy", "torch", "scipy", "sklearn", "pydantic", "cbor2", "jinja2")
RECIPE = """
title = "Digits, 8 clients"
seed = 1
data = { name = "digits", split = { by = "iid", clients = 8 } }
model = "numpy-mlp"
gate = { max_norm = 1e4, max_examples = 2000 }
defence = { f = 2, rule = "multi-krum" }
train = { rounds = 30, steps = 8, batch = 16, learning_rate = 0.1, evaluate_on = 100 }
"""
COMMAND = (sys.executable, "-c", "from ringfort.app.main import main; main()")


def hears_ctrl_c():
    """In the child: a shell that starts these tests in the background has told all its children to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ringfort(*words, cwd=None, check=None):
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120)
    if check is not None:
        assert done.returncode == check, done.stderr
    return done


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "digits.toml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(word):
    program = f"""
import sys
sys.argv = ["ringfort", {word!r}]
from ringfort.app.main import main
try:
    main()
except SystemExit as end:
    print("exit", end.code)
print("heavy", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-2:] == ["exit 0", "heavy []"]
    assert done.stderr == ""
    if word == "--help":
        assert all(command in done.stdout for command in ("drill", "train", "explain", "data", "recipe"))
    else:
        assert done.stdout.startswith("ringfort 0.")


def test_a_refusal_is_one_line_on_stderr_and_exit_code_2(tmp_path):
    done = ringfort("drill", tmp_path / "nothing.toml", "--json", check=2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: RF106 ")


def test_a_command_line_that_makes_no_sense_is_exit_code_2():
    done = ringfort("drill", "--no-such-option")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_connection_that_the_other_side_closes_is_no_end_of_the_program():
    """As the doctor's to a server that turns strangers away: the default action of SIGPIPE would be to die."""
    code = (
        "import socket; import ringfort.app.main as m; near, far = socket.socketpair(); far.close()\n"
        "def ask():\n    try:\n        near.sendall(b'x')\n    except BrokenPipeError:\n        print('told')\n"
        "m.app = ask; m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "told\n")


def test_a_closed_pipe_ends_the_program_quietly():
    done = subprocess.run(
        ["bash", "-c", '"$@" recipe schema | head -c 1', "-", *COMMAND], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("{", "")


def committed(folder):
    journal = folder / "rounds.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def stopped(recipe, out, number, workers):
    """Start `train`, send it a signal after a few committed rounds, and wait for its end."""
    words = ["train", str(recipe), "--out", str(out), "-q", "--set", f"train.workers={workers}"]
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )
    try:
        until = time.monotonic() + 60
        while committed(out) < 4 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        # Ctrl-C in a terminal goes to the whole group, workers included; kill -9 hits the parent alone.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        out_text, error = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert 4 <= committed(out) < 31, "the run was over before the signal came: make it longer"
    assert not (out / "model.safetensors").exists()
    return process, out_text, error


def group_is_gone(leader):
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(leader, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def temporary(folder):
    return [path.name for path in folder.rglob(".*.tmp")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "digits.toml").write_text(RECIPE)
    done = ringfort("train", folder / "digits.toml", "--out", folder / "out", "--json", check=0)
    assert not temporary(folder)
    return json.loads(done.stdout)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_leaves_committed_rounds_and_resume_ends_where_one_run_ends(recipe, tmp_path, workers, uninterrupted):
    out = tmp_path / "out"
    process, printed, error = stopped(recipe, out, signal.SIGINT, workers)
    assert process.returncode == 3
    assert printed == ""
    assert error.count("\n") == 1
    assert error.startswith("error: RF603 ")
    assert group_is_gone(process.pid)
    assert temporary(out) == []
    before = (out / "rounds.jsonl").read_bytes()
    resumed = json.loads(ringfort("train", recipe, "--out", out, "--resume", "--json", check=0).stdout)
    assert resumed["model"] == uninterrupted["model"]
    assert resumed["curve"] == uninterrupted["curve"]
    assert resumed["clients"] == uninterrupted["clients"]
    assert (out / "rounds.jsonl").read_bytes().startswith(before)
    assert committed(out) == 31


def test_kill_9_loses_no_committed_round_and_resume_ends_where_one_run_ends(recipe, tmp_path, uninterrupted):
    out = tmp_path / "out"
    process, _, error = stopped(recipe, out, signal.SIGKILL, 2)
    assert process.returncode == -signal.SIGKILL
    assert error == ""
    assert group_is_gone(process.pid)  # workers die with their parent
    whole = (out / "rounds.jsonl").read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    resumed = json.loads(ringfort("train", recipe, "--out", out, "--resume", "--json", check=0).stdout)
    assert resumed["model"] == uninterrupted["model"]
    assert resumed["curve"] == uninterrupted["curve"]
    assert (out / "rounds.jsonl").read_bytes().startswith(whole)
    assert temporary(out / "models") == []


@pytest.mark.slow
def test_two_runs_cannot_write_one_folder(recipe, tmp_path):
    out = tmp_path / "out"
    words = ["train", str(recipe), "--out", str(out), "-q", "--set", "train.rounds=5000"]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while committed(out) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        second = ringfort("train", recipe, "--out", out, "--resume")
    finally:
        process.kill()
        process.wait()
    assert second.returncode == 2
    assert "being written by another process" in second.stderr
    assert Path(out / "rounds.jsonl").exists()


def test_ctrl_c_during_a_drill_is_exit_code_3_and_ends_its_workers(recipe, tmp_path):
    drill = RECIPE.replace("rounds = 30", "rounds = 5000") + (
        'drill = { hostile_fraction = 0.25, seeds = [1], walls = ["mean", "multi-krum"], '
        'attacks = [{ name = "sign-flip", scale = 4.0 }], '
        "thresholds = { accuracy_loss = 0.05, attack_success = 0.1 } }\n"
    )
    recipe.write_text(drill)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, "drill", str(recipe), "--out", str(out), "--json", "--set", "train.workers=2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )
    try:
        until = time.monotonic() + 60
        while not (out / "manifest.json").exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        printed, error = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 3, error
    assert printed == ""
    assert error.splitlines()[-1].startswith("error: RF603 ")
    assert "Traceback" not in error
    assert group_is_gone(process.pid)
    assert not (out / "report.json").exists()
    assert temporary(out) == []
