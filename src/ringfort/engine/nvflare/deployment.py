"""A whole deployment on this machine: the sites' processes, and jobs one after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from ringfort.core.errors import JobAborted, TransportError
from ringfort.core.randomness import SecureRandom
from ringfort.core.values import ClientId
from ringfort.engine.nvflare.job import write_job
from ringfort.engine.nvflare.processes import Site, running
from ringfort.engine.nvflare.provision import ADMIN, Kits
from ringfort.engine.nvflare.session import Session

__all__ = ["Deployment", "Running"]

_CONNECT_S: Final = 90.0
_BEGIN_S: Final = 60.0
_TICK_S: Final = 0.05
_ASK_EVERY_S: Final = 1.0


@dataclass(frozen=True)
class Running:
    """A job that was submitted.

    Args:
        id: as the server calls it.
        run: as we do.
        sites: who is in it.
    """

    id: str
    run: str
    sites: tuple[ClientId, ...]

    @classmethod
    def of(cls, session: Session, jobs: Path, recipe: str, sites: Collection[ClientId]) -> Running:
        """Write a job's folder below `jobs`, and submit it.

        Raises:
            TransportError (RF602): the server did not take it.
        """
        run, names = f"job-{SecureRandom().token(6).hex()}", tuple(sorted(sites))
        return cls(session.submit(write_job(jobs / run, run, recipe, names)), run, names)


class Deployment:
    """Starts a server and its sites from their kits, submits jobs, watches them, and ends everything it started.

    Args:
        kits: from `provision`.
        jobs: folder in which job folders are written.

    Guarantees:
        `close` ends every process that came from this deployment, by id, and no other.

    Does not promise: that a job survives the death of one of its sites' processes; none does. See `culprits`.
    """

    def __init__(self, kits: Kits, jobs: Path) -> None:
        self.kits = kits
        self._jobs = jobs.resolve()
        self._sites: dict[str, Site] = {}
        self._session: Session | None = None

    def start(self, without: Collection[ClientId] = ()) -> None:
        """Start whatever does not run, and wait until all are connected.

        Raises:
            TransportError (RF602): a process ended, or is not connected after 90 s.
        """
        self._start("server", self.kits.server, server=True)
        wanted = {name: kit for name, kit in self.kits.clients.items() if name not in without}
        for name, kit in wanted.items():
            self._start(name, kit, server=False)
        if self._session is None:
            self._session = Session(self.kits.admin, ADMIN, _CONNECT_S, self._sites["server"].require)
        self._session.wait_for(set(wanted), _CONNECT_S, self._require)

    def _start(self, name: str, kit: Path, *, server: bool) -> None:
        site = self._sites.get(name)
        if site is not None and site.alive():
            return
        if site is not None:
            site.end()
        self._sites[name] = Site(name, kit, server=server)

    def _require(self) -> None:
        for site in self._sites.values():
            site.require()

    def submit(self, recipe: str, sites: Collection[ClientId]) -> Running:
        """Submit a job for these sites, and wait until its server process runs.

        Raises:
            TransportError (RF602): it did not begin within a minute.
        """
        session = self._need_session()
        job = Running.of(session, self._jobs, recipe, sites)
        until = time.monotonic() + _BEGIN_S
        while self.process(self.kits.server, job) is None:
            self._sites["server"].require()
            if time.monotonic() > until:
                raise TransportError(f"the job did not begin within {_BEGIN_S:g} s: {session.status(job.id)}")
            time.sleep(_TICK_S)
        return job

    @staticmethod
    def process(kit: Path, job: Running) -> int | None:
        """The id of a site's process in a job; None before it has begun."""
        try:
            said = json.loads((kit / "local" / "process.json").read_bytes())
        except (OSError, ValueError):
            return None
        return int(said["pid"]) if said["run"] == job.run else None

    def watch(self, job: Running, done: Callable[[], bool]) -> None:
        """Return when `done` says so.

        Raises:
            JobAborted (RF605): a process of the job is gone before that, or the server has ended it.
        """
        asked = time.monotonic()
        while not done():
            pid = self.process(self.kits.server, job)
            if not self._sites["server"].alive():
                raise JobAborted("the server's process is gone")
            if pid is None or not running(pid):
                if done():
                    return
                raise JobAborted("the job's process at the server is gone")
            if dead := self.culprits(job):
                raise JobAborted(f"a process of {', '.join(dead)} is gone, which ends the job for everybody")
            if time.monotonic() - asked > _ASK_EVERY_S:
                asked = time.monotonic()
                self._require_unfinished(job)
            time.sleep(_TICK_S)

    def _require_unfinished(self, job: Running) -> None:
        try:
            status = self._need_session().status(job.id)
        except TransportError:  # an unanswered question is no answer; the processes are watched anyway
            return
        if status.startswith("FINISHED"):
            raise JobAborted(f"the server ended the job: {status}")

    def culprits(self, job: Running) -> tuple[ClientId, ...]:
        """The sites whose process is gone, the one in this job or the one that lasts.

        Meaningful at once after `watch` raised: the server ends the others' processes about two seconds later.
        """
        return tuple(name for name in job.sites if self._gone(name, job))

    def _gone(self, name: ClientId, job: Running) -> bool:
        pid = self.process(self.kits.clients[name], job)
        return not self._sites[name].alive() or (pid is not None and not running(pid))

    def clear(self, job: Running) -> bool:
        """End the processes that a job left, so that the next can have the journal; whether the server still runs."""
        for name, kit in (("server", self.kits.server), *((name, self.kits.clients[name]) for name in job.sites)):
            pid = self.process(kit, job)
            if pid is not None:
                self._sites[name].end_child(pid)
        return self._sites["server"].alive()

    def _need_session(self) -> Session:
        if self._session is None:
            raise TransportError("the deployment was not started")
        return self._session

    def close(self) -> None:
        """End every process. Idempotent."""
        if self._session is not None:
            self._session.close()
            self._session = None
        for site in self._sites.values():
            site.ask_to_end()
        for site in self._sites.values():
            site.end()
        self._sites = {}

    def __enter__(self) -> Deployment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
