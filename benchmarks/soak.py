"""Does a long run grow? `python -m benchmarks.soak`: 200 rounds x 50 clients with a journal, a ledger and checkpoints.

After a warm-up it fits a line to the resident memory and to the seconds of each round, and counts open files. Then it
writes a journal of 10,000 records of 50 clients and measures what verifying, resuming and one more commit cost. Times
are this process's processor time: they do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.crash import KEY, federation
from ringfort.core.randomness import SecureRandom
from ringfort.core.tensors import digest_of
from ringfort.core.values import Action, Verdict, client_id
from ringfort.privacy import Budget, CentralNoise, Event, Everyone, FixedClip, Ledger, Neighbouring, Unit
from ringfort.rounds import Defence, Journal, RoundRecord
from ringfort.rounds.checkpoint import Signing
from ringfort.rounds.log import verify
from ringfort.rounds.places import ToFile
from ringfort.rounds.private import TARIFF, PrivateRelease

_WARM_UP = 40


def resident_bytes() -> int:
    """This process's resident memory, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """How many files and sockets this process holds."""
    return len(os.listdir("/proc/self/fd"))


def soak(rounds: int, clients: int, folder: Path, *, private: bool = False) -> dict[str, Any]:
    """Run, and look after every round."""
    made = federation(clients, rounds)
    rss, seconds, files = [], [], []
    with Journal(folder, Signing(KEY, (ToFile(folder / "outside.jsonl"),))) as journal:
        made = replace(made, journal=journal)
        ledger = None
        if private:
            made, ledger = _private(made, clients, folder)
        started = time.process_time()
        for _ in made.states():
            now = time.process_time()
            seconds.append(now - started)
            rss.append(resident_bytes())
            files.append(open_files())
            started = time.process_time()
        if ledger is not None:
            ledger.close()
    start = min(_WARM_UP, rounds // 4)
    x = np.arange(start, len(rss))
    slope = float(np.polyfit(x, np.array(rss[start:], dtype=float), 1)[0])
    third = (len(seconds) - start) // 3
    return {
        "rounds": rounds,
        "clients": clients,
        "private": private,
        "rss_mib": round(rss[-1] / 2**20, 1),
        "rss_slope_bytes_per_round": round(slope),
        "open_files": sorted(set(files[start:])),
        "cpu_ms_per_round_early": round(1e3 * float(np.median(seconds[start : start + third])), 2),
        "cpu_ms_per_round_late": round(1e3 * float(np.median(seconds[-third:])), 2),
    }


def _private(made: Any, clients: int, folder: Path) -> tuple[Any, Ledger]:
    from ringfort.aggregate import Mean

    how = CentralNoise(FixedClip(1.0), 20.0, Everyone(clients), Neighbouring.ADD_OR_REMOVE)
    budget = Budget(1e6, 1e-5, Neighbouring.ADD_OR_REMOVE, Unit.CLIENT)
    event: Event = how.event
    ledger = Ledger(folder / "privacy.jsonl", "soak", budget, {TARIFF: event})
    return replace(made, defence=Defence(Mean()), release=PrivateRelease(how, ledger)), ledger


def long_journal(rounds: int, clients: int, folder: Path) -> dict[str, Any]:
    """Write so many records, without their fsyncs, then measure what reading and going on cost."""
    names = tuple(client_id(f"client-{i:03}") for i in range(clients))
    verdicts = tuple(Verdict(name, Action.ACCEPT, 1 / clients) for name in names)
    model = digest_of(b"model")
    run = SecureRandom().token(16).hex()
    head = RoundRecord(run, 0, "", (), "Mean()", "", "", model, (), (), (), (), {}, "")
    with (folder / "rounds.jsonl").open("wb") as file:
        file.write(head.line())
        for number in range(1, rounds):
            head = RoundRecord(
                run,
                number,
                "",
                names,
                "Mean()",
                model,
                model,
                model,
                verdicts,
                (),
                (),
                (),
                {"accuracy": 0.5},
                head.digest,
            )
            file.write(head.line())
    (folder / "models").mkdir()
    (folder / "models" / f"{model}.safetensors").write_bytes(b"model")
    size = (folder / "rounds.jsonl").stat().st_size
    before = resident_bytes()
    started = time.process_time()
    verify(folder)
    verifying = time.process_time() - started
    started = time.process_time()
    with Journal(folder) as journal:
        opening = time.process_time() - started
        took = []
        for _ in range(50):
            last = journal.head
            assert last is not None
            record = replace(last, round=last.round + 1, prev=last.digest)
            started = time.process_time()
            journal.commit(record, b"model")
            took.append(time.process_time() - started)
    return {
        "records": rounds,
        "clients": clients,
        "mib": round(size / 2**20, 1),
        "verify_cpu_s": round(verifying, 2),
        "open_cpu_s": round(opening, 2),
        "commit_cpu_ms": round(1e3 * float(np.median(took)), 2),
        "grew_mib": round((resident_bytes() - before) / 2**20, 1),
    }


def main() -> None:
    """Measure and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for name, private in (("plain", False), ("private", True)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = soak(args.rounds, args.clients, Path(folder), private=private)
            print(json.dumps(found[name]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found["long"] = long_journal(args.records, args.clients, Path(folder))
        print(json.dumps(found["long"]), flush=True)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
