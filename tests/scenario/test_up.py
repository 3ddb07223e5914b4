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
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nvflare")

from ringfort import data
from ringfort.app import build
from ringfort.app import recipe as recipes
from ringfort.core.randomness import Seeds
from ringfort.core.seal import COORDINATOR
from ringfort.identity.keyfiles import new_signing_key
from ringfort.rounds.checkpoint import read_checkpoints
from ringfort.rounds.journal import Journal, read_records
from ringfort.rounds.log import verify
from ringfort.testing import enrol

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


def history(run, *more):
    """What clients kept against what the server wrote, as an auditor's command says it."""
    words = kill.command("log", "receipts", str(run), "--json", *map(str, more))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
    found = history(there)
    assert (found["counted"], len(found["checked"])) == (8, 4), "what both sides signed does not fit the journal"
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


def running(folder, recipe):
    """A run of `up` under way, once its first rounds are committed."""
    (folder / "recipe.toml").write_text(recipe)
    words = kill.command("up", str(folder / "recipe.toml"), "--out", str(folder / "run"), "--quiet", "--json")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while kill.committed(folder / "run") < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    return process


def test_checkpoints_go_on_and_verify_after_kill_9_of_the_servers_job(tmp_path):
    key = new_signing_key(tmp_path / "log.key")
    log = f'[log]\nkey = "{tmp_path}/log.key"\nto = ["{tmp_path}/outside.jsonl"]\n'
    process = running(tmp_path, kill.RECIPE + log)
    run = tmp_path / "run"
    os.kill(kill.process_of(run / "deployment" / "server"), signal.SIGKILL)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    events = [json.loads(line)["what"] for line in (run / "engine.jsonl").read_text().splitlines()]
    assert events == ["submitted", "ended", "resubmitted"], "nothing was killed, so nothing is tested"
    found = verify(run, tmp_path / "outside.jsonl", key.public)
    assert (found.anchored, found.records) == (kill.ROUNDS + 1, kill.ROUNDS + 1)
    sizes = [checkpoint.size for checkpoint in read_checkpoints(run / "checkpoints.jsonl")[0]]
    assert sizes == sorted(sizes)
    assert set(sizes) == set(range(1, kill.ROUNDS + 2)), "every round has its own"
    kept = history(run)
    assert (len(kept["checked"]), kept["counted"]) == (4, 4 * kill.ROUNDS)
    told = {path.relative_to(run) for path in run.rglob("*") if path.is_file() and b"log.key" in path.read_bytes()}
    ours = {Path(name) for name in ("recipe.toml", "manifest.json", "report.html", "report.json")}
    assert told - ours == {Path("deployment/server/local/ringfort.json")}, "the key's place is the server's to know"


def test_a_client_that_is_revoked_while_an_organisations_members_run_is_out_of_the_next_round(tmp_path):
    names = [f"client-{number:02}" for number in range(4)]
    known = enrol(tmp_path / "people", names, datetime.now(UTC), servers=(COORDINATOR, "aggregator-2"))
    with known.writer() as registry:
        registry.revoke("client-03", "before", datetime.now(UTC))
    table = f'[identity]\nregistry = "{known.registry}"\nhomes = "{known.folder}/homes"\nserver = "{COORDINATOR}"\n'
    process = running(tmp_path, kill.RECIPE.replace("f = 1", "f = 0") + table)
    with known.writer() as registry:
        registry.revoke("client-02", "in the middle", datetime.now(UTC))
    at_most = kill.committed(tmp_path / "run") + 2  # whatever is under way, and what is being committed
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    records = read_records(tmp_path / "run")[0][1:]
    assert len(records) == kill.ROUNDS
    asked = [record.round for record in records if "client-02" in record.cohort]
    assert asked == list(range(1, len(asked) + 1))
    assert 3 <= len(asked) <= at_most < kill.ROUNDS
    assert all("client-03" not in record.cohort for record in records)
    lines = [line for line in json.loads(out)["not_covered"] if "was revoked" in line]
    assert len(lines) == 2
    assert f"(in the middle). It was asked in {len(asked)} of {kill.ROUNDS} rounds" in lines[0]
    assert "(before). It was asked in 0 of" in lines[1]
    assert "client-02 was revoked" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "members").exists(), "nobody was enrolled anew"
    kept = history(tmp_path / "run", "--registry", known.registry, "--authority", known.folder / "homes" / "client-00")
    assert kept["checked"] == names[:3]
    last = records[len(asked) - 1]  # its receipt would have come with the next request
    unheard = sum(verdict.client == "client-02" for verdict in last.verdicts)
    assert kept["counted"] == sum(len(record.verdicts) for record in records) - unheard
    assert kept["unacknowledged"] == 1


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
