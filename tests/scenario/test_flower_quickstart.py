"""The quick start as a user runs it: a SuperLink, five SuperNodes and `flwr run`, on loopback."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringfort.rounds import read_records

APP = Path(__file__).parents[2] / "examples" / "flower"
BIN = Path(sys.executable).parent


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"nothing listens on {port}")


@pytest.fixture
def lab(tmp_path):
    """Runs the app; all processes end with the test."""
    pytest.importorskip("flwr")
    port = free_port()
    environment = {
        **os.environ,
        "FLWR_HOME": str(tmp_path / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text(
        f'[superlink]\ndefault = "lab"\n[superlink.lab]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    started = []

    def start(*words):
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            command = [BIN / words[0], *words[1:]]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path))

    def run(**config):
        given = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        done = subprocess.run(
            [BIN / "flwr", "run", str(APP), "lab", "--stream", "--run-config", given],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        listed = subprocess.run(
            [BIN / "flwr", "list", "lab", "--format", "json"], env=environment, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        return done.stdout + done.stderr, listed.stdout

    try:
        start("flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port),
              "--disable-runtime-dependency-installation")  # fmt: skip
        wait_for(port)
        for node in range(5):
            start("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--host", "127.0.0.1",
                  "--port", str(free_port()), "--node-config", f"partition-id={node} num-partitions=5")  # fmt: skip
        yield run
    finally:
        for process in started[::-1]:
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def accuracies(said):
    return [
        float(line.rsplit(" ", 1)[1]) for line in said.splitlines() if "accuracy 0." in line or "accuracy 1." in line
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_lines_save_the_quick_start_from_a_hostile_node(lab, tmp_path):
    said, listed = lab(**{"run": str(tmp_path / "run"), "num-server-rounds": 3})
    assert "finished:completed" in listed, said
    records = read_records(tmp_path / "run")[0]
    assert len(records) == 4
    for record in records[1:]:
        assert len(record.verdicts) == 5
        assert sum(v.weight == 0 for v in record.verdicts) >= 1
    assert accuracies(said)[-1] > 0.85, said
    bare, _ = lab(**{"guarded": False, "num-server-rounds": 3})
    assert accuracies(bare)[-1] < 0.5, bare
