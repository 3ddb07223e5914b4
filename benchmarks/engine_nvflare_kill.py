"""Kill tests of `ringfort up`: kill -9 at random moments; nothing committed is lost, nothing is counted twice.

    python -m benchmarks.engine_nvflare_kill --kills 200 --out runs/kill.json

One run is killed several times, one process each time: the server's job process, a client's, the server's lasting
process, or `ringfort up` itself (which is then started again with --resume). Three kills of four come at a random
moment of a random round, the fourth while the run still recovers from the one before. Afterwards the run has finished
by itself, its chain verifies, every round is there once, what clients and server signed fits what was counted
(`log receipts`), and, unless a client was left out, the model is bit for bit that of an undisturbed run in one
process.
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringfort.app.evidence import kept_by, keys_of, server_name
from ringfort.audit.history import History
from ringfort.audit.receipts import check_run
from ringfort.engine.nvflare.processes import running
from ringfort.rounds.journal import read_records

ROUNDS = 60
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
KILLED_CLIENT = "client-02"
VICTIMS = ("server-job", "client-job", "server", "up")
_GONE_S = 120.0
_HANGS_S = 400.0


@dataclass(frozen=True)
class Kill:
    """One kill: of whom, after which round or, if `recovering`, how soon after the kill before.

    Args:
        victim: one of VICTIMS.
        round: that many rounds are committed by then.
        pause_s: waited after that.
        recovering: whether not to wait for the round.
    """

    victim: str
    round: int
    pause_s: float
    recovering: bool = False


def plan(draw: random.Random, kills: int, *, clients: bool) -> list[Kill]:
    """The kills of one run, in the order of their rounds. A client's process is killed at most once, if at all."""
    rounds = sorted(draw.sample(range(1, ROUNDS - 3), kills))
    victims = [draw.choice(("server-job", "server-job", "server", "up")) for _ in rounds]
    if clients:
        victims[draw.randrange(kills)] = "client-job"
    made: list[Kill] = []
    for at, victim in zip(rounds, victims, strict=True):
        soon = bool(made) and not made[-1].recovering and victim != "client-job" and draw.random() < 1 / 3
        made.append(Kill(victim, at, draw.uniform(0, 12) if soon else draw.uniform(0, 0.1), soon))
    return made


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
        pid = int(json.loads((kit / "local" / "process.json").read_bytes())["pid"])
        return pid if running(pid) else None
    return None


def parent_of(pid: int) -> int:
    """Who started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Over(Exception):
    """The run had finished before its next kill: there is nobody left."""


class Up:
    """`ringfort up`, started, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.errors = folder / "stderr.txt"
        self._recipe = folder / "recipe.toml"
        self._recipe.write_text(RECIPE)
        self._process = self._begin()

    def _begin(self, *more: str) -> subprocess.Popen[bytes]:
        words = command("up", str(self._recipe), "--out", str(self.run), "--quiet", *more)
        with self.errors.open("ab") as errors:
            return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)

    def _require(self) -> None:
        if self._process.poll() == 0:
            raise Over
        if self._process.poll() is not None:
            raise RuntimeError(f"ended with {self._process.returncode}: {self.errors.read_text()}")

    def wait_for(self, round: int) -> None:
        """Until that many rounds are committed."""
        until = time.monotonic() + _HANGS_S
        while committed(self.run) < round:
            self._require()
            if time.monotonic() > until:
                raise RuntimeError(f"no round {round} in {_HANGS_S:g} s")
            time.sleep(0.01)

    def victim(self, name: str) -> int:
        """The id of who is to die; waits until there is one."""
        self._require()
        if name == "up":
            return self._process.pid
        kit = self.run / "deployment" / (KILLED_CLIENT if name == "client-job" else "server")
        until = time.monotonic() + _GONE_S
        while time.monotonic() < until:
            self._require()
            if (pid := process_of(kit)) is not None:
                with contextlib.suppress(OSError):  # gone in between
                    return parent_of(pid) if name == "server" else pid
            time.sleep(0.01)
        raise RuntimeError(f"no process of {name} in {_GONE_S:g} s")

    def kill(self, name: str) -> None:
        """One kill -9; `up` itself is then started again."""
        os.kill(self.victim(name), signal.SIGKILL)
        if name == "up":
            self._process.wait()
            self._process = self._begin("--resume")

    def end(self) -> int:
        """Wait until it has finished; its exit code."""
        return self._process.wait(600)

    def close(self) -> None:
        """End it, and with it all its processes, if it has not finished."""
        self._process.terminate()
        self._process.wait(60)


def trial(folder: Path, kills: Sequence[Kill]) -> dict[str, Any]:
    """One run with its kills; what came of it."""
    up = Up(folder)
    seen: list[int] = []
    try:
        with contextlib.suppress(Over):
            for kill in kills:
                if not kill.recovering:
                    up.wait_for(max(kill.round, (seen[-1] + 1) if seen else 0))
                time.sleep(kill.pause_s)
                up.kill(kill.victim)
                seen.append(committed(up.run))
        code = up.end()
    finally:
        up.close()
    records = read_records(up.run)[0]
    events = [json.loads(line) for line in (up.run / "engine.jsonl").read_text().splitlines()]
    found = history(up.run)
    return {
        "kills": [asdict(kill) for kill in kills[: len(seen)]],
        "committed_at_kill": seen,
        "code": code,
        "stderr": up.errors.read_text()[-2000:],
        "rounds": [record.round for record in records],
        "model": records[-1].next_model,
        "left_out": sorted({name for event in events for name in event["culprits"]}),
        "recovery_s": [event["seconds"] for event in events if event["what"] in ("resubmitted", "restarted")],
        "cohorts": sorted({len(record.cohort) for record in records[1:]}),
        "answers": sum(len(record.cohort) for record in records[1:]),
        "history": {
            "faults": [str(fault) for fault in found.faults],
            "acknowledged": found.acknowledged,
            "counted": found.counted,
        },
    }


def history(run: Path) -> History:
    """What `ringfort log receipts` finds; nobody's answers may be missing."""
    found = check_run(run, keys_of(run, None, None, server_name(run, None)), kept_by(run, ()))
    if found.missing:
        raise RuntimeError(f"not checked: {found.missing}")
    return found.history


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
    out = list(result["history"]["faults"])
    if result["code"] != 0:
        out.append(f"ended with {result['code']}: {result['stderr']}")
    if result["rounds"] != list(range(ROUNDS + 1)):
        out.append(f"rounds {result['rounds']}")
    if not result["left_out"] and result["model"] != expected:
        out.append("another model than an undisturbed run")
    if not result["left_out"] and result["history"]["counted"] != result["answers"]:
        out.append(f"{result['history']['counted']} answers counted of {result['answers']} in the cohorts")
    killed = {kill["victim"] for kill in result["kills"]}
    allowed = {KILLED_CLIENT} if "client-job" in killed else set()
    if set(result["left_out"]) - allowed:
        out.append(f"left out {result['left_out']}")
    return out


def main() -> None:
    """Run the trials; exit 1 if any broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--each", type=int, default=5, help="kills per run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a run that is under way is ended
    draw = random.Random(given.seed)  # noqa: S311 - when to kill, not what to hide
    results: list[dict[str, Any]] = []
    done = 0
    made = Path(tempfile.mkdtemp(prefix="ringfort-kill-"))
    base = made / "base"
    base.mkdir()
    expected = undisturbed(base)
    while done < given.kills:
        number = len(results)
        folder = made / str(number)
        folder.mkdir()
        kills = plan(draw, min(given.each, given.kills - done), clients=number % 2 == 1)
        try:
            result = trial(folder, kills)
            result["faults"] = faults(result, expected)
        except Exception as error:  # kept beside the others: a run that cannot be read is a fault, too
            result = {
                "kills": [asdict(kill) for kill in kills],
                "faults": [repr(error)],
                "left_out": [],
                "recovery_s": [],
            }
        result["load"] = os.getloadavg()[0]
        results.append(result)
        done += len(result["kills"])
        shown = {key: result[key] for key in ("left_out", "recovery_s", "load", "faults")}
        print(done, [kill["victim"] for kill in result["kills"]], shown, flush=True)
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(results, indent=1))
        if not result["faults"]:
            shutil.rmtree(folder)
    bad = sum(bool(result["faults"]) for result in results)
    if not bad:
        shutil.rmtree(made)
    print(f"{done} kills in {len(results)} runs, {bad} runs with faults")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
