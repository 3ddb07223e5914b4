"""Jobs over sites that others keep running: who is in one, who ended it."""

import json
import os

import pytest

from ringfort.core.errors import InvalidValue, JobAborted, TransportError
from ringfort.core.values import client_id
from ringfort.engine.nvflare import remote as module
from ringfort.engine.nvflare.remote import Remote

SITES = tuple(map(client_id, ("hospital-1", "hospital-2", "aggregator-2")))


class Session:
    """Somebody else's server: who is connected, and what was submitted."""

    def __init__(self, kit, name, within_s, alive):
        self.name = name

    def wait_for(self, names, within_s, alive):
        if missing := names - self.here:
            raise TransportError(f"not connected: {missing}")

    def connected(self):
        return {*self.here, "a-stranger"}

    def submit(self, job):
        meta = json.loads((job / "meta.json").read_text())
        self.submitted.append(meta["mandatory_clients"])
        self.kit.joinpath("local", "process.json").write_text(json.dumps({"run": job.name, "pid": os.getpid()}))
        return "a1b2"

    def status(self, job):
        return "RUNNING"

    def abort(self, job):
        self.aborted.append(job)

    def close(self):
        pass


@pytest.fixture
def remote(tmp_path, monkeypatch):
    operator, server = tmp_path / "operator", tmp_path / "server"
    (operator / "startup").mkdir(parents=True)
    (server / "local").mkdir(parents=True)
    (operator / "startup" / "fed_admin.json").write_text(json.dumps({"admin": {"username": "operator@example"}}))
    monkeypatch.setattr(module, "Session", Session)
    monkeypatch.setattr(module, "_SETTLED_S", 0.1)
    monkeypatch.setattr(module, "_ENDED_S", 0.1)
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    monkeypatch.setattr(Session, "kit", server, raising=False)
    monkeypatch.setattr(Session, "here", set(SITES), raising=False)
    monkeypatch.setattr(Session, "submitted", [], raising=False)
    monkeypatch.setattr(Session, "aborted", [], raising=False)
    return Remote(operator, server, SITES, SITES[2:], tmp_path / "jobs", 0.0)


def begin(remote, without=()):
    remote.start(without)
    return remote.submit("digest", [site for site in SITES if site not in without])


def test_a_job_has_the_sites_that_are_connected(remote, monkeypatch):
    assert begin(remote).sites == tuple(sorted(SITES))
    monkeypatch.setattr(Session, "here", {*SITES} - {"hospital-2"})
    assert begin(remote).sites == ("aggregator-2", "hospital-1")
    monkeypatch.setattr(Session, "here", set(SITES))
    assert begin(remote, without=("hospital-1",)).sites == ("aggregator-2", "hospital-2")
    assert Session.submitted[1] == ["aggregator-2", "hospital-1"]


@pytest.mark.parametrize(
    ("gone", "said"), [({"aggregator-2"}, "no job begins without aggregator-2"), (set(SITES[:2]), "not connected")]
)
def test_no_job_begins_without_a_helper_or_without_a_client(remote, monkeypatch, gone, said):
    monkeypatch.setattr(Session, "here", {*SITES} - gone)
    with pytest.raises(TransportError, match=said):
        begin(remote)


def test_the_servers_log_names_who_ended_a_job(remote):
    job = begin(remote)
    assert remote.culprits(job) == ()
    log = remote._server / "log.txt"
    line = "FederatedServer - INFO - Failing job {} due to reported failure from {}: aborted\n"
    log.write_text(line.format("another", "hospital-2"))
    assert remote.culprits(job) == ()
    log.write_text(line.format(job.id, "somebody-else"))
    assert remote.culprits(job) == ()
    log.write_text(line.format("another", "hospital-2") + line.format(job.id, "hospital-1"))
    assert remote.culprits(job) == ("hospital-1",)


def test_a_job_whose_process_is_gone_is_over(remote):
    job = begin(remote)
    remote.watch(job, lambda: True)
    (remote._server / "local" / "process.json").write_text(json.dumps({"run": job.run, "pid": 2**22 + 1}))
    with pytest.raises(JobAborted, match="is gone"):
        remote.watch(job, lambda: False)


def test_close_ends_the_job_once_and_no_process_that_is_not_a_kits(remote):
    begin(remote)
    remote.close()
    remote.close()
    assert Session.aborted == ["a1b2"]


def test_a_folder_that_is_no_operators_kit_is_refused(tmp_path):
    with pytest.raises(InvalidValue, match="no operator's startup kit"):
        Remote(tmp_path, tmp_path, SITES, (), tmp_path, 1.0)
