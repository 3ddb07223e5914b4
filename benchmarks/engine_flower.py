"""What one exchange costs on Flower, beside the engine's own floor in the same run.

    python -m benchmarks.engine_flower --out runs/bench-engine-flower.json

A real deployment on loopback, without TLS: a SuperLink, SuperNodes, and all that they start for each message.
`exchange` is `FlowerExchange.exchange`; `floor` pushes and pulls Flower's own messages with the same bytes and asks for
answers as often, without Ringfort; `flower` is the call that Flower's strategies make, `Grid.send_and_receive`. They
take turns, so that load strikes all alike. Clients answer with what they were sent.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from benchmarks.exchange_times import show, write
from ringfort.core.ports import Reply
from ringfort.engine.flower import FlowerExchange

SIZES = {"small": 100, "d=1e6": 4_000_000}
WARM = 1
POLL_S = 0.2
PATIENCE_S = 120.0
_PROCESSES_A_NODE = 6
"""SuperNode, its SuperExec and one process for a message, and as many again, with what the server has.

A process that has not begun to work after half a minute is started once more, so on a busy machine they pile up.
"""

_APP = """
[project]
name = "ringfort-bench"
version = "1.0.0"
description = "What an exchange costs."
license = "Apache-2.0"
dependencies = []
[tool.hatch.build.targets.wheel]
packages = ["."]
[tool.flwr.app]
publisher = "ringfort"
[tool.flwr.app.components]
serverapp = "ringfort_bench.server_app:app"
clientapp = "ringfort_bench.client_app:app"
[tool.flwr.app.config]
out = ""
nodes = 1
small = 1
large = 1
"""

_SERVER = """
from benchmarks import engine_flower
app = engine_flower.server
"""
_CLIENT = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query("floor")
def floor(message, context):
    body = message.content.config_records["floor"]["body"]
    return Message(RecordDict({"floor": ConfigRecord({"body": body})}), reply_to=message)


@app.query("ringfort")
def ringfort(message, context):
    from ringfort.core.values import client_id
    from ringfort.engine.flower import node_app

    class Echo:
        client = client_id(f"node-{context.node_id}")

        def handle(self, stage, payload):
            return payload

    return node_app(lambda _: Echo())(message, context)
"""
"""Each message has a process of its own, so the floor is one in which nothing of Ringfort's is loaded."""

server = ServerApp()


@server.main()  # type: ignore[untyped-decorator]
def main_app(grid: Grid, context: Context) -> None:
    """Measure, and write the times down."""
    said = context.run_config
    exchange = FlowerExchange(grid, max_reply_bytes=1 << 24, patience_s=PATIENCE_S, poll_s=POLL_S)
    nodes = int(said["nodes"])
    while len(exchange.members()) < nodes:
        time.sleep(0.5)
    ways: dict[str, Callable[[bytes], list[bytes]]] = {
        "exchange": lambda body: _by_ringfort(exchange, body),
        "floor": lambda body: _pushed(grid, body),
        "flower": lambda body: _sent(grid, body),
    }
    out: dict[str, dict[str, list[float]]] = {}
    for (name, size), count in zip(SIZES.items(), (int(said["small"]), int(said["large"])), strict=True):
        body = os.urandom(size)
        took: dict[str, list[float]] = {way: [] for way in ways}
        for i in range(count + WARM):
            for way, ask in ways.items():
                began = time.perf_counter()
                got = ask(body)
                ended = time.perf_counter()
                assert got == [body] * nodes, f"{way}: {len(got)} answers"
                print(f"{name} {i} {way} {ended - began:.3f} s", flush=True)
                if i >= WARM:
                    took[way].append(ended - began)
        out[name] = took
    Path(str(said["out"])).write_text(json.dumps(out))


def _by_ringfort(exchange: FlowerExchange, body: bytes) -> list[bytes]:
    got = exchange.exchange("echo", dict.fromkeys(exchange.members(), body), None)
    for outcome in got.values():
        if not isinstance(outcome, Reply):
            print(outcome, flush=True)
    return [bytes(reply.body) for reply in got.values() if isinstance(reply, Reply)]


def _questions(grid: Grid, body: bytes) -> list[Message]:
    return [
        Message(RecordDict({"floor": ConfigRecord({"body": body})}), dst_node_id=node, message_type="query.floor")
        for node in grid.get_node_ids()
    ]


def _answers(messages: list[Message]) -> list[bytes]:
    return [bytes(message.content.config_records["floor"]["body"]) for message in messages]


def _pushed(grid: Grid, body: bytes) -> list[bytes]:
    waiting, got = set(grid.push_messages(_questions(grid, body))), list[Message]()
    until = time.monotonic() + PATIENCE_S
    while waiting and time.monotonic() < until:
        replies = list(grid.pull_messages(sorted(waiting)))
        got += replies
        waiting -= {reply.metadata.reply_to_message_id for reply in replies}
        if waiting:
            time.sleep(POLL_S)
    return _answers(got)


def _sent(grid: Grid, body: bytes) -> list[bytes]:
    return _answers(list(grid.send_and_receive(_questions(grid, body), timeout=PATIENCE_S)))


@contextmanager
def lab(folder: Path, nodes: int, task_poll_s: float | None) -> Iterator[tuple[dict[str, str], Path]]:
    """A SuperLink and its nodes. All that was started, and all that they started, is ended by its id."""
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "FLWR_HOME": str(folder / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    if task_poll_s is not None:
        environment["FLWR_SUPEREXEC_TASK_POLL_INTERVAL"] = str(task_poll_s)
    port = _free_port()
    (folder / "home").mkdir()
    (folder / "home" / "config.toml").write_text(
        f'[superlink]\ndefault = "lab"\n[superlink.lab]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with (folder / f"{len(started)}.log").open("wb") as log:
            command = [str(binaries / words[0]), *words[1:]]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder))

    try:
        here = "--insecure", "--host", "127.0.0.1", "--port"
        start("flower-superlink", *here, str(port), "--disable-runtime-dependency-installation")
        _wait_for(port)
        for _ in range(nodes):
            start("flower-supernode", "--superlink", f"127.0.0.1:{port}", *here, str(_free_port()))
        yield environment, binaries / "flwr"
    finally:
        _end(started)


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks twice does not get a half-ended lab
    below = {pid for process in started for pid in _below(process.pid)}
    for process in started[::-1]:
        process.terminate()
    until = time.monotonic() + 15
    while time.monotonic() < until and (below := _alive(below | {p for pid in below for p in _below(pid)})):
        time.sleep(0.2)
    for pid in [*below, *(process.pid for process in started if process.poll() is None)]:
        os.kill(pid, signal.SIGKILL)
    for process in started:
        process.wait()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _alive(pids: set[int]) -> set[int]:
    """Those of them that still run what Flower started: an id may be somebody else's by now."""
    return {pid for pid in pids if any(word in _command(pid) for word in (b"flwr", b"flower"))}


def _below(pid: int) -> list[int]:
    """All processes that one has started, and those that they have; none where there is no /proc."""
    children: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += [int(child) for child in thread.read_text().split()]
        except OSError:
            continue
    return [*children, *(far for child in children for far in _below(child))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_for(port: int, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit(f"nothing listens on {port}")


def run(nodes: int, small: int, large: int, task_poll_s: float | None) -> dict[str, Any]:
    """Deploy, measure, end."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        app, out = folder / "app", folder / "times.json"
        (app / "ringfort_bench").mkdir(parents=True)
        (app / "pyproject.toml").write_text(_APP)
        for name, text in (("__init__", ""), ("server_app", _SERVER), ("client_app", _CLIENT)):
            (app / "ringfort_bench" / f"{name}.py").write_text(text)
        with lab(folder, nodes, task_poll_s) as (environment, flwr):
            config = f'out="{out}" nodes={nodes} small={small} large={large}'
            command = [str(flwr), "run", str(app), "lab", "--stream", "--run-config", config]
            asking = subprocess.Popen(command, env=environment, cwd=folder)
            try:
                while asking.poll() is None:
                    time.sleep(0.5)
                    if len(_below(os.getpid())) > _PROCESSES_A_NODE * (nodes + 1):
                        raise SystemExit("Flower starts processes faster than they end: this machine is too busy")
            finally:
                asking.kill()
                asking.wait()
        if not out.exists():
            raise SystemExit("the run wrote no times")
        times = json.loads(out.read_text())
    return {
        "times": times,
        "load": os.getloadavg(),
        "flwr": version("flwr"),
        "nodes": nodes,
        "task_poll_s": task_poll_s,
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--small", type=int, default=12, help="small exchanges of each kind")
    parser.add_argument("--large", type=int, default=6, help="exchanges of 4 MB each way, of each kind")
    parser.add_argument("--task-poll-s", type=float, help="between two looks for tasks; absent: Flower's 1 s")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result = run(given.nodes, given.small, given.large, given.task_poll_s)
    print(f"flwr {result['flwr']}, {given.nodes} nodes, load {result['load'][0]:.1f}")
    show(result["times"], digits=3)
    write(given.out, result)


if __name__ == "__main__":
    main()
