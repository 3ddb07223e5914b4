"""One real job: a server and four clients as processes, mTLS between them, no code on the wire."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("nvflare")

from ringfort.audit.doctor import Severity, examine
from ringfort.core.errors import JobAborted
from ringfort.engine.nvflare.deployment import Deployment
from ringfort.engine.nvflare.kit import write_profile
from ringfort.engine.nvflare.processes import running
from ringfort.engine.nvflare.provision import provision

HERE = Path(__file__).parent
NAMES = ("ada", "bob", "cy", "dee")


def _load(name):
    spec = importlib.util.spec_from_file_location(f"engine_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _of_ours(folder):
    """Processes whose command line names something in this folder."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes() and running(int(pid)):
                found.add(int(pid))
    return found


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_real_job_does_what_every_exchange_must_until_a_client_ends_it(check_exchange, tmp_path, monkeypatch):
    from datetime import UTC, datetime

    source = Path(importlib.util.find_spec("ringfort").origin).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), str(HERE)]))
    harness = _load("nvflare_harness")
    kits = provision(tmp_path / "kits", NAMES)
    hub = harness.Hub(tmp_path / "hub")
    for name, kit in kits.clients.items():
        write_profile(kit, "digest", "nvflare_harness:node", {"client": name, "socket": hub.path})
    write_profile(kits.server, "digest", "nvflare_harness:serve", {"socket": hub.path, "max_reply_bytes": 1 << 24})
    with Deployment(kits, tmp_path / "jobs") as deployment:
        deployment.start()
        job = deployment.submit("digest", NAMES)
        check_exchange(lambda handlers: harness.Remote(hub, handlers))
        remote = harness.Remote(hub, {})
        every = {reply.body for reply in remote.exchange("pid", dict.fromkeys(NAMES, b"1"), 30).values()}
        again = {reply.body for reply in remote.exchange("pid", dict.fromkeys(NAMES, b"2"), 30).values()}
        assert len(every) == 4, "clients share a process"
        assert every == again, "a client's process did not live through the job"
        assert not [f for f in examine(tmp_path / "kits", datetime.now(UTC)) if f.severity is Severity.HIGH]
        with contextlib.suppress(JobAborted, EOFError):  # whoever sees it first
            remote.exchange("die", {"cy": b""}, 30)
        with pytest.raises(JobAborted):
            deployment.watch(job, lambda: False)
        assert deployment.culprits(job)[:1] == ("cy",)
        assert _of_ours(tmp_path)
    hub.close()
    assert not _of_ours(tmp_path), "a process outlived its deployment"
