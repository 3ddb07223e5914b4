"""kill -9 at random moments, over and over: `python -m benchmarks.crash --trials 200`.

Each trial is a run that is killed (SIGKILL) at random moments, up to three times, and then finished. Then the model is
compared bit by bit with that of a run that nobody disturbed, and the log is verified against the checkpoints that went
outside. The defence remembers (momentum), so its memory is in the comparison too.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ringfort.aggregate import Mean, Momentum, chain
from ringfort.client.node import LocalClient
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.dataset import Dataset
from ringfort.core.keys import SigningKey
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.values import client_id
from ringfort.engine import InProcess
from ringfort.rounds import Defence, Federation, Gate, Journal
from ringfort.rounds.checkpoint import Signing
from ringfort.rounds.log import verify
from ringfort.rounds.places import ToFile

KEY = SigningKey(bytes(32))
KILLS = 3
"""At most so many in one trial."""


def federation(clients: int, rounds: int) -> Federation:
    """A small one with a memory; each round takes some milliseconds, most of them on disk."""
    rng = np.random.default_rng(0)
    model = NumpyModel(16, 4)
    homes = []
    for i in range(clients):
        labels = rng.integers(0, 4, 30)
        inputs = rng.standard_normal((30, 16)).astype(np.float32)
        data = Dataset("toy", inputs, labels.astype(np.int64), ("a", "b", "c", "d"))
        homes.append(LocalClient(client_id(f"c{i:03}"), model, data, LocalTraining(2, 8, 0.1), Seeds(1)))
    return Federation(
        InProcess(homes),
        model,
        Defence(chain(Momentum(beta=0.5), Mean())),
        Gate(max_norm=1e3, max_examples=1000),
        rounds=rounds,
        seeds=Seeds(1),
    )


def work(made: Federation, folder: Path, pipe: int) -> None:
    """In the child: run or resume, and say which rounds are committed."""
    with Journal(folder / "run", Signing(KEY, (ToFile(folder / "outside.jsonl"),))) as journal:
        for state in replace(made, journal=journal).states():
            os.write(pipe, f"{state.round} {state.record.digest}\n".encode())


def killed(made: Federation, folder: Path, delay: float) -> tuple[bool, set[str]]:
    """Run in a child and kill it `delay` seconds after its first word; whether it was, and what it had acknowledged."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(read)
            work(made, folder, write)
        except BaseException as error:
            print(f"a run ended with {error!r}", file=sys.stderr, flush=True)
            os._exit(70)
        os._exit(0)
    os.close(write)
    select.select([read], [], [], 60)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    with os.fdopen(read, "rb") as file:
        said = {line for line in file.read().decode().splitlines() if " " in line}
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
        raise AssertionError("a run could not be resumed")
    return os.WIFSIGNALED(status), said


def trial(made: Federation, expected: bytes, seed: int, length_s: float) -> dict[str, int]:
    """One run, killed up to three times at random moments of its length, then left to finish."""
    rng = np.random.default_rng(seed)
    kills, acknowledged = 0, set[str]()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        (folder / "run").mkdir()
        for _ in range(KILLS):
            was, said = killed(made, folder, float(rng.uniform(0, length_s)))
            acknowledged |= said
            kills += was
        with Path(os.devnull).open("wb") as nowhere:
            work(made, folder, nowhere.fileno())
        found = verify(folder / "run", folder / "outside.jsonl", KEY.public)
        with Journal(folder / "run") as journal:
            records = {f"{record.round} {record.digest}" for record in journal.stream()}
            head = journal.head
            same = head is not None and journal.model(head.next_model) == expected
        lost = len(acknowledged - records)
        return {
            "kills": kills,
            "lost": lost,
            "differs": int(not same),
            "unsigned": found.records - (found.anchored or 0),
        }


def measure(trials: int, rounds: int, clients: int) -> dict[str, Any]:
    """All trials and their sums."""
    made = federation(clients, rounds)
    expected = made.model.schema.encode(made.run().params)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("wb") as nowhere:
        (Path(folder) / "run").mkdir()
        work(made, Path(folder), nowhere.fileno())
    length_s = time.monotonic() - started
    rows = [trial(made, expected, seed, length_s) for seed in range(trials)]
    sums = {key: sum(row[key] for row in rows) for key in rows[0]}
    return {"trials": trials, "rounds": rounds, **sums, "seconds": round(time.monotonic() - started, 1)}


def main() -> None:
    """Measure and say it; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = measure(args.trials, args.rounds, args.clients)
    print(json.dumps(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found))
    sys.exit(bool(found["lost"] or found["differs"] or found["unsigned"]))


if __name__ == "__main__":
    main()
