"""Kill tests of `ringfort up`: kill -9 at random moments; nothing committed is lost, nothing is counted twice.

    python -m benchmarks.engine_nvflare_kill --trials 200 --out runs/kill.json

Half of the trials kill the server's job process, a quarter a client's, a quarter the server's lasting process. After
each, the run must finish by itself, its chain must verify, every round must be there once, and, unless a client was
left out, the model must be bit for bit that of an undisturbed run in one process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ringfort.rounds.journal import read_records

ROUNDS = 30
RECIPE = f"""
title = "kill"
seed = 3
[data]
name = "digits"
split = {{ by = "iid", clients = 4 }}
[model]
name = "numpy-mlp"
hidden = [16]
[train]
rounds = {ROUNDS}
steps = 10
batch = 16
learning_rate = 0.3
evaluate_on = 300
[gate]
max_norm = 100.0
max_examples = 10_000
[defence]
f = 1
rule = "median"
"""
VICTIMS = ("server-job", "client-job", "server-job", "server")


def command(*words: str) -> list[str]:
    """The command line of this interpreter's Ringfort."""
    return [sys.executable, "-c", "from ringfort.app.main import main; main()", *words]


def committed(run: Path) -> int:
    """Rounds on disk; -1 before round 0."""
    try:
        return (run / "rounds.jsonl").read_bytes().count(b"\n") - 1
    except OSError:
        return -1


def process_of(kit: Path) -> int | None:
    """A site's process in the current job."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(json.loads((kit / "local" / "process.json").read_bytes())["pid"])
    return None


def parent_of(pid: int) -> int:
    """Who started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def trial(folder: Path, victim: str, after: int, pause_s: float) -> dict[str, Any]:
    """One run with one kill after round `after`; what came of it."""
    run, recipe = folder / "run", folder / "recipe.toml"
    recipe.write_text(RECIPE)
    process = subprocess.Popen(
        command("up", str(recipe), "--out", str(run), "--quiet"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while committed(run) < after:
        if process.poll() is not None:
            raise RuntimeError((process.communicate()[1] or b"").decode())
        time.sleep(0.002)
    time.sleep(pause_s)
    kit = run / "deployment" / ("client-02" if victim == "client-job" else "server")
    pid = process_of(kit)
    assert pid is not None
    if victim == "server":
        pid = parent_of(pid)
    os.kill(pid, signal.SIGKILL)
    seen = committed(run)
    _, errors = process.communicate(timeout=600)
    records = read_records(run)[0]
    events = [json.loads(line) for line in (run / "engine.jsonl").read_text().splitlines()]
    return {
        "victim": victim,
        "after": after,
        "committed_at_kill": seen,
        "code": process.returncode,
        "stderr": errors.decode()[-2000:],
        "rounds": [record.round for record in records],
        "model": records[-1].next_model,
        "left_out": [name for event in events for name in event["culprits"]],
        "recovery_s": max((event["seconds"] for event in events), default=0.0),
        "cohorts": sorted({len(record.cohort) for record in records[1:]}),
    }


def undisturbed(folder: Path) -> str:
    """The model's digest of the same run in one process."""
    (folder / "recipe.toml").write_text(RECIPE)
    subprocess.run(
        command("train", str(folder / "recipe.toml"), "--out", str(folder / "run"), "--quiet"),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return read_records(folder / "run")[0][-1].next_model


def faults(result: dict[str, Any], expected: str) -> list[str]:
    """What a trial broke; nothing, if all is well."""
    out = []
    if result["code"] != 0:
        out.append(f"ended with {result['code']}: {result['stderr']}")
    if result["rounds"] != list(range(ROUNDS + 1)):
        out.append(f"rounds {result['rounds']}")
    if not result["left_out"] and result["model"] != expected:
        out.append("another model than an undisturbed run")
    if result["victim"] == "client-job" and result["left_out"] not in ([], ["client-02"]):
        out.append(f"left out {result['left_out']}")
    if result["victim"] != "client-job" and result["left_out"]:
        out.append(f"left out {result['left_out']} although no client died")
    return out


def main() -> None:
    """Run the trials; exit 1 if any broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    draw = random.Random(given.seed)  # noqa: S311 - when to kill, not what to hide
    results = []
    with tempfile.TemporaryDirectory() as made:
        base = Path(made) / "base"
        base.mkdir()
        expected = undisturbed(base)
        for number in range(given.trials):
            folder = Path(made) / str(number)
            folder.mkdir()
            victim = VICTIMS[number % len(VICTIMS)]
            result = trial(folder, victim, draw.randrange(0, ROUNDS - 5), draw.uniform(0, 0.05))
            result["faults"] = faults(result, expected)
            results.append(result)
            print(number, {k: result[k] for k in ("victim", "after", "left_out", "recovery_s", "faults")}, flush=True)
            shutil.rmtree(folder)
    bad = sum(bool(result["faults"]) for result in results)
    print(f"{given.trials} trials, {bad} with faults")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(results, indent=1))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
