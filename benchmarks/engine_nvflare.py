"""What one exchange costs on NVFlare, beside the engine's own floor in the same run.

    python -m benchmarks.engine_nvflare --out runs/bench-engine-nvflare.json

A real deployment on loopback: a server, four clients, mTLS, each in its own process. `exchange` is
`NVFlareExchange.exchange`; `floor` is NVFlare's own group call of the same method with the same bytes, as an
application without Ringfort would make it. They alternate, so that load strikes both alike. Clients answer with what
they were sent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.exchange_times import show, write
from ringfort.core.values import ClientId, client_id
from ringfort.engine.nvflare.exchange import NVFlareExchange

CLIENTS = tuple(client_id(f"client-{i:02}") for i in range(4))
SIZES = {"small": 100, "d=1e6": 4_000_000}
COUNTS = {"small": 100, "d=1e6": 12}
WARM = 3


@dataclass(frozen=True)
class Echo:
    """Answers with what it was sent."""

    client: ClientId

    def handle(self, stage: str, payload: bytes) -> bytes:  # noqa: ARG002 - a node's signature
        """The payload."""
        return payload


def node(said: dict[str, Any]) -> Echo:
    """What a client's profile names."""
    return Echo(client_id(said["client"]))


def serve(said: dict[str, Any], job: Any) -> None:
    """What the server's profile names: measure, and write the times down."""
    from nvflare.collab import collab

    exchange = NVFlareExchange(job.calls, tuple(job.calls), job.aborted, max_reply_bytes=1 << 24, patience_s=60.0)
    out: dict[str, dict[str, list[float]]] = {}
    for name, size in SIZES.items():
        body = os.urandom(size)
        took: dict[str, list[float]] = {"exchange": [], "floor": []}
        for i in range(COUNTS[name] + WARM):
            began = time.perf_counter()
            got = exchange.exchange(f"stage-{i}", dict.fromkeys(CLIENTS, body), 60.0)
            between = time.perf_counter()
            floor = dict(collab.clients(timeout=60.0).handle("floor", body))
            ended = time.perf_counter()
            assert len(got) == len(floor) == len(CLIENTS)
            assert all(reply.body == body for reply in got.values())  # type: ignore[union-attr]
            if i >= WARM:
                took["exchange"].append(between - began)
                took["floor"].append(ended - between)
        out[name] = took
    Path(said["out"]).write_text(json.dumps(out))


def run() -> dict[str, Any]:
    """Deploy, measure, end."""
    from ringfort.engine.nvflare.deployment import Deployment
    from ringfort.engine.nvflare.kit import write_profile
    from ringfort.engine.nvflare.provision import provision

    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        began = time.monotonic()
        kits = provision(folder / "kits", CLIENTS)
        for name, kit in kits.clients.items():
            write_profile(kit, "r", "benchmarks.engine_nvflare:node", {"client": name})
        write_profile(kits.server, "r", "benchmarks.engine_nvflare:serve", {"out": str(folder / "times.json")})
        provisioned = time.monotonic()
        with Deployment(kits, folder / "jobs") as deployment:
            deployment.start()
            connected = time.monotonic()
            job = deployment.submit("r", CLIENTS)
            begun = time.monotonic()
            deployment.watch(job, (folder / "times.json").exists)
            time.sleep(0.2)
            times = json.loads((folder / "times.json").read_text())
            ending = time.monotonic()
        ended = time.monotonic()
    phases = {
        "provision_s": provisioned - began,
        "connect_s": connected - provisioned,
        "submit_to_first_exchange_s": begun - connected,
        "stop_s": ended - ending,
    }
    return {"phases": phases, "times": times, "load": os.getloadavg(), "nvflare": version("nvflare")}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result = run()
    print(f"nvflare {result['nvflare']}, {len(CLIENTS)} clients, load {result['load'][0]:.1f}")
    print("  ".join(f"{name} {value:.1f}" for name, value in result["phases"].items()))
    show(result["times"], digits=4)
    write(given.out, result)
    sys.exit(0)


if __name__ == "__main__":
    main()
