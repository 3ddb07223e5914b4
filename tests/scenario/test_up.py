"""`ringfort up`: the same federation on real processes. Slow: each run starts a server and clients, some 20 s."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nvflare")

from ringfort import data
from ringfort.app import build
from ringfort.app import recipe as recipes
from ringfort.core.randomness import Seeds
from ringfort.rounds.journal import Journal, read_records

_spec = importlib.util.spec_from_file_location(
    "engine_nvflare_kill", Path(__file__).parents[2] / "benchmarks" / "engine_nvflare_kill.py"
)
kill = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kill)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PLAIN = kill.RECIPE.replace(f"rounds = {kill.ROUNDS}", "rounds = 2")
ONE = kill.RECIPE.replace(f"rounds = {kill.ROUNDS}", "rounds = 1")
MASKED = (
    ONE.replace("f = 1", "f = 0").replace('"median"', '"mean"')
    + '[seal]\nname = "masked"\nclip = 6.0\nbits = 28\nmin_cohort = 3\n'
    + "corrupt_fraction = 0.0\ndropout_fraction = 0.25\n"
)
SHARED = (
    ONE.replace('"median"', '"geometric-median"')
    + '[seal]\nname = "shared"\nclip = 6.0\nbits = 15\nmin_cohort = 3\nmax_weight = 0.5\n'
)


def both(folder, recipe):
    """The runs' folders: in one process, and on real processes. They start from the same round 0."""
    path = folder / "recipe.toml"
    path.write_text(recipe)
    here, there = folder / "train", folder / "up"
    here.mkdir()
    read = recipes.read(path)
    scenario = build.scenario(read, data.load(read.data.name))
    with Journal(here) as journal:
        federation = scenario.federation(Seeds(read.seed), build.defence(read), journal=journal)
        federation.begin()
        federation.exchange.close()
    shutil.copytree(here, there)
    for word, run in (("train", here), ("up", there)):
        done = subprocess.run(
            kill.command(word, str(path), "--out", str(run), "--resume", "--quiet", "--json"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["model"], "stdout is not the report alone"
    return here, there


def params(run):
    raw = (run / "model.safetensors").read_bytes()
    return np.frombuffer(raw[8 + int.from_bytes(raw[:8], "little") :], np.float32)


def test_a_plain_run_is_bit_for_bit_that_of_one_process(tmp_path):
    here, there = both(tmp_path, PLAIN)
    assert (params(here) == params(there)).all()
    ours, theirs = (read_records(run)[0] for run in (here, there))
    assert [r.digest for r in ours] == [r.digest for r in theirs]
    left = [path for path in (there / "deployment").rglob("*.key*") if path.is_file()]
    assert not left, "private keys outlived the deployment"
    assert not list((there / "members" / "authority").glob("*.key.pem"))
    found = kill.history(there)
    assert (found.faults, found.counted) == ((), 8), "what both sides signed does not fit the journal"
    assert {path.name for path in here.iterdir()} <= {path.name for path in there.iterdir()}


def test_a_masked_round_gives_the_model_of_one_process(tmp_path):
    here, there = both(tmp_path, MASKED)
    assert np.abs(params(here) - params(there)).max() < 1e-6


def test_a_shared_round_with_two_helper_servers_as_processes_gives_the_model_of_one_process(tmp_path):
    here, there = both(tmp_path, SHARED)
    for name in ("aggregator-2", "aggregator-3"):
        assert (there / "deployment" / name / "process.log").exists()
    # Rounding on the shares' grid is random: sqrt(d/6) steps of clip / 2^(bits - 1) for each client, in either run.
    step, d = 6.0 / 2**14, len(params(here))
    assert np.linalg.norm(params(here) - params(there)) < 2 * step * np.sqrt(d / 6)
    weights = [{v.client: v.weight for v in read_records(run)[0][-1].verdicts} for run in (here, there)]
    assert weights[0] == pytest.approx(weights[1], abs=1e-3)


def test_kill_9_five_times_loses_nothing_and_counts_nothing_twice(tmp_path):
    base, folder = tmp_path / "base", tmp_path / "killed"
    base.mkdir()
    folder.mkdir()
    victims = ("server-job", "server", "up", "server-job", "client-job")
    kills = [kill.Kill(victim, 5 + 8 * i, 0.01 * i, i == 3) for i, victim in enumerate(victims)]
    result = kill.trial(folder, kills)
    assert kill.faults(result, kill.undisturbed(base)) == []
    assert result["left_out"] == [kill.KILLED_CLIENT]
    assert result["cohorts"] == [3, 4]
    assert kill.KILLED_CLIENT in (folder / "run" / "report.html").read_text()


def ours(folder):
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_polite_end_ends_every_process_and_the_run_can_go_on(tmp_path, number):
    (tmp_path / "recipe.toml").write_text(kill.RECIPE)
    words = [str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), "--quiet"]
    process = subprocess.Popen(kill.command("up", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while kill.committed(tmp_path / "run") < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    assert len(ours(tmp_path / "run")) >= 10
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert "RF603" in said
    assert ours(tmp_path / "run") == set()
    before = kill.committed(tmp_path / "run")
    assert before >= 3
    done = subprocess.run(kill.command("up", *words, "--resume"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    base = tmp_path / "base"
    base.mkdir()
    assert read_records(tmp_path / "run")[0][-1].next_model == kill.undisturbed(base)


def test_a_killed_supervisor_leaves_nothing_that_the_next_one_trips_over(tmp_path):
    (tmp_path / "recipe.toml").write_text(kill.RECIPE)
    words = [str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), "--quiet"]
    process = subprocess.Popen(kill.command("up", *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while kill.committed(tmp_path / "run") < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # or it may be done before the second one has begun
    second = subprocess.run(kill.command("up", *words, "--resume"), capture_output=True, text=True, check=False)
    assert "another `ringfort up`" in second.stderr
    process.kill()
    process.wait()
    assert ours(tmp_path / "run" / "deployment"), "nothing was left behind, so nothing is tested"
    done = subprocess.run(kill.command("up", *words, "--resume"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ours(tmp_path / "run") == set()
    base = tmp_path / "base"
    base.mkdir()
    assert read_records(tmp_path / "run")[0][-1].next_model == kill.undisturbed(base)


def test_a_client_can_be_left_out_by_name_and_comes_back(tmp_path):
    (tmp_path / "recipe.toml").write_text(PLAIN)
    words = [str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), "--quiet"]
    subprocess.run(kill.command("up", *words, "--without", "client-01"), check=True, capture_output=True)
    longer = [*words, "--resume", "--set", "train.rounds=3"]
    subprocess.run(kill.command("up", *longer), check=True, capture_output=True)
    assert [len(record.cohort) for record in read_records(tmp_path / "run")[0][1:]] == [3, 3, 4]
    wrong = subprocess.run(kill.command("up", *longer, "--without", "client-1"), capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "client-01" in wrong.stderr


def test_without_nvflare_the_command_says_what_to_install(tmp_path):
    (tmp_path / "recipe.toml").write_text(PLAIN)
    program = (
        "import sys; sys.modules['nvflare'] = None; from ringfort.app.main import main; "
        f"sys.argv = ['ringfort', 'up', {str(tmp_path / 'recipe.toml')!r}, '--out', {str(tmp_path / 'run')!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, "ringfort[nvflare]" in done.stderr) == (2, True)
