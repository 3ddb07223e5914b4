"""What signatures cost: one exchange with and without them, and the floor under it: one SHA-256 on each side.

Both sides run here: a client's request is hashed by the client (and once by the server for all of them), its answer by
both. So the floor is 3 + 1/n digests of an update for each client.

The clients answer at once, with an update that is ready: what is measured is the wire alone. The two exchanges take
turns in one process, so that the ratio holds when the machine's speed drifts.

    python -m benchmarks.wire --out runs/bench-wire.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ringfort.client.node import client_names
from ringfort.core.files import write_atomic
from ringfort.core.ports import Exchange, Reply
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import Schema
from ringfort.core.values import ClientId
from ringfort.core.wire import Broadcast, encode_update
from ringfort.engine import InProcess, SignedNode
from ringfort.testing import enrol


class Ready:
    """A client whose answer is made."""

    def __init__(self, client: ClientId, update: bytes) -> None:
        self.client, self._update = client, update

    def handle(self, stage: str, payload: bytes) -> bytes:  # noqa: ARG002
        """The answer."""
        return self._update


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of CPU time, so that a busy machine does not count; waiting for a disk does not count either."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def round_trip(exchange: Exchange, names: tuple[ClientId, ...], frame: bytes) -> None:
    """One exchange that must succeed."""
    got = exchange.exchange("train", dict.fromkeys(names, frame), None)
    if not all(isinstance(got[name], Reply) for name in names):
        raise SystemExit(f"the exchange failed: {got}")


def peak(work: Callable[[], object]) -> float:
    """Largest memory beyond what was there, in MB."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return most


def measure(d: int, n: int, trials: int, disk: bool) -> dict[str, Any]:
    """Median CPU milliseconds a client."""
    schema = Schema.of({"w": (d,)})
    values = Seeds(1).child("values").standard_normal(d).astype(np.float32)
    frame = Broadcast.encode("run", 1, schema.encode(values))
    to = Broadcast.decode(frame, schema)
    names = client_names(n)
    ready = [Ready(name, encode_update(name, to, values, 10, schema)) for name in names]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        town = enrol(home / "town", names, now)
        most = schema.encoded_bytes + 4096
        nodes = []
        for node in ready:
            kept = home / "kept" / node.client
            kept.mkdir(parents=True)
            side = town.side(node.client, clock=lambda: now, most=most, folder=kept if disk else None)
            nodes.append(SignedNode(node, side))
        (home / "run").mkdir()
        bare = InProcess(ready)
        signed = town.exchange(InProcess(nodes), clock=lambda: now, most=most, folder=home / "run" if disk else None)
        rows: dict[str, list[float]] = {"bare": [], "signed": [], "sha256": [], "copy": []}
        for _ in range(trials):
            rows["bare"].append(timed(lambda: round_trip(bare, names, frame)) / n)
            rows["signed"].append(timed(lambda: round_trip(signed, names, frame)) / n)
            rows["sha256"].append(timed(lambda: hashlib.sha256(frame).digest()))
            rows["copy"].append(timed(lambda: bytearray(frame)))
        medians = {name: statistics.median(values) for name, values in rows.items()}
        return {
            "d": d,
            "n": n,
            "trials": trials,
            "disk": disk,
            "update_bytes": len(frame),
            "ms_per_client": medians,
            "added_ms": medians["signed"] - medians["bare"],
            "floor_ms": medians["sha256"] * (3 + 1 / n),
            "peak_mb": {
                "bare": peak(lambda: round_trip(bare, names, frame)),
                "signed": peak(lambda: round_trip(signed, names, frame)),
            },
        }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    cells = [measure(d, given.clients, given.trials, disk) for d in (16, 100_000, 1_000_000) for disk in (False, True)]
    for cell in cells:
        ms = cell["ms_per_client"]
        print(
            f"d={cell['d']:>9,} disk={cell['disk']!s:5}  bare {ms['bare']:7.3f}  signed {ms['signed']:7.3f}  "
            f"added {cell['added_ms']:7.3f} ms a client   floor {cell['floor_ms']:6.3f}  copy {ms['copy']:6.3f}  "
            f"peak {cell['peak_mb']['bare']:.1f} -> {cell['peak_mb']['signed']:.1f} MB"
        )
    if given.out:
        result = {"platform": platform.platform(), "python": platform.python_version(), "cells": cells}
        write_atomic(given.out, json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    main()
