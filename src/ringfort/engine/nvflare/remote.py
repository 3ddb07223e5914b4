"""Jobs on a server whose processes somebody else keeps running: systemd, another machine's owner. Imports nvflare."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from ringfort.core.errors import InvalidValue, JobAborted, TransportError
from ringfort.core.values import ClientId, client_id
from ringfort.engine.nvflare.deployment import Deployment, Running
from ringfort.engine.nvflare.processes import end_one, running
from ringfort.engine.nvflare.session import Session

__all__ = ["Remote"]

_BEGIN_S: Final = 120.0
_ENDED_S: Final = 60.0
_SETTLED_S: Final = 5.0
_TICK_S: Final = 0.5
_MOST_LOG_BYTES: Final = 4 << 20


class Remote:
    """Submits jobs, watches them and says whose process ended one, on the server's machine, with the operator's kit.

    Args:
        operator: the operator's startup kit.
        server: the server's startup kit: where its job process is named, and what its log says.
        sites: everybody who may take part.
        needed: of them, without whom no job begins: a seal's helpers.
        jobs: folder in which job folders are written.
        patience_s: how long a job waits for sites that are not connected, before it begins without them.

    Guarantees:
        A site that is not connected in time is left out of that job alone, and asked again for the next one.
        Nothing is started here, and nothing ended but jobs: `close` ends the one that runs.

    Does not promise: that a job survives the death of one of its sites' processes; none does. See `culprits`.

    Raises:
        InvalidValue (RF104): the operator's folder is no operator's startup kit.
    """

    def __init__(
        self,
        operator: Path,
        server: Path,
        sites: Collection[ClientId],
        needed: Collection[ClientId],
        jobs: Path,
        patience_s: float,
    ) -> None:
        try:
            said = json.loads((operator / "startup" / "fed_admin.json").read_bytes())
            self._name = str(said["admin"]["username"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidValue(f"{operator} is no operator's startup kit: no startup/fed_admin.json to read") from error
        self._operator, self._server = operator.resolve(), server.resolve()
        self._sites, self._needed = frozenset(sites), frozenset(needed)
        self._jobs, self._patience_s = jobs.resolve(), patience_s
        self._session: Session | None = None
        self._job: Running | None = None

    def start(self, without: Collection[ClientId] = ()) -> None:
        """Wait until the server answers and all sites but those are connected, or for as long as patience lasts.

        Raises:
            TransportError (RF602): no answer, nobody is connected, or somebody without whom no job begins is not.
        """
        if self._session is None:
            (self._operator / "transfer").mkdir(exist_ok=True)
            self._session = Session(self._operator, self._name, self._patience_s, lambda: None)
        try:
            self._session.wait_for(set(self._sites - set(without)), self._patience_s, lambda: None)
        except TransportError:
            here = self._present()
            if missing := sorted(self._needed - here):
                raise TransportError(f"no job begins without {', '.join(missing)}, who is not connected") from None
            if not here - self._needed:
                raise

    def _present(self) -> frozenset[ClientId]:
        return frozenset(map(client_id, self._need_session().connected())) & self._sites

    def submit(self, recipe: str, sites: Collection[ClientId]) -> Running:
        """Submit a job for those of these sites that are connected, and wait until its process at the server runs.

        Raises:
            TransportError (RF602): it did not begin within two minutes.
        """
        session = self._need_session()
        self._job = job = Running.of(session, self._jobs, recipe, set(sites) & self._present())
        until = time.monotonic() + _BEGIN_S
        while Deployment.process(self._server, job) is None:
            status = session.status(job.id)
            if status.startswith("FINISHED") or time.monotonic() > until:
                raise TransportError(f"the job did not begin: {status or 'no answer'}")
            time.sleep(_TICK_S)
        return job

    def watch(self, job: Running, done: Callable[[], bool]) -> None:
        """Return when `done` says so.

        Raises:
            JobAborted (RF605): its process at the server is gone before that.
        """
        while not done():
            pid = Deployment.process(self._server, job)
            if pid is None or not running(pid):
                if done():
                    return
                raise JobAborted("the job's process at the server is gone")
            time.sleep(_TICK_S)

    def culprits(self, job: Running) -> tuple[ClientId, ...]:
        """The site whose failure ended the job, as the server's log has it; nobody if it names none."""
        until = time.monotonic() + _SETTLED_S
        while time.monotonic() < until:
            if found := _reported(self._server / "log.txt", job):
                return found
            time.sleep(_TICK_S)
        return ()

    def clear(self, job: Running) -> bool:
        """End what is left of a job, so that the next can have the journal; whether the server still answers."""
        session = self._need_session()
        with contextlib.suppress(TransportError):  # a job that is over, or a server that has just started
            session.abort(job.id)
        pid = Deployment.process(self._server, job)
        if pid is not None:
            until = time.monotonic() + _ENDED_S
            while running(pid) and time.monotonic() < until:
                time.sleep(_TICK_S)
            end_one(pid, self._server)
        with contextlib.suppress(TransportError):
            session.connected()
            return True
        return False

    def _need_session(self) -> Session:
        if self._session is None:
            raise TransportError("nobody has asked for the server yet")
        return self._session

    def close(self) -> None:
        """End the job that runs, and the session. Idempotent."""
        job, self._job = self._job, None
        if self._session is not None:
            if job is not None:
                self.clear(job)
            self._session.close()
            self._session = None


def _reported(log: Path, job: Running) -> tuple[ClientId, ...]:
    """Whom the end of the server's log names as the reason why this job ended."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _MOST_LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    found = re.search(rf"job {re.escape(job.id)} due to reported failure from (\S+?):", text)
    return () if found is None or found[1] not in job.sites else (client_id(found[1]),)
