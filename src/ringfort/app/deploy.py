"""A recipe as a deployment on this machine: identities, kits and profiles for every party, and the supervisor."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from ringfort.app.loading import rows_profile
from ringfort.app.members import DEPLOYMENT, Members
from ringfort.app.recipe import Recipe, to_toml
from ringfort.app.sites import log_profile, outcome_of
from ringfort.app.tail import Tail
from ringfort.core.errors import EngineError, JobAborted, OutputUnwritable, RingfortError, TransportError
from ringfort.core.files import canonical_json, write_atomic
from ringfort.core.lines import append_in_turn
from ringfort.core.values import ClientId
from ringfort.engine.nvflare.deployment import Running
from ringfort.engine.nvflare.kit import write_profile
from ringfort.engine.nvflare.processes import end_orphans
from ringfort.engine.nvflare.provision import Kits, provision
from ringfort.rounds.record import RoundRecord

__all__ = ["Event", "Jobs", "Supervisor", "deploy", "forget_keys", "supervising"]

FOLDER: Final = DEPLOYMENT
EVENTS: Final = "engine.jsonl"
LOCK: Final = ".up.lock"
JOBS: Final = "jobs"
"""The jobs that an operator submitted: configuration alone."""
_JOBS_WITHOUT_PROGRESS: Final = 3
_POLITE: Final = (signal.SIGINT, signal.SIGTERM)
_SETTLE_S: Final = 0.3
"""NVFlare ends the others' processes about two seconds after the first: until then, one dead process is the culprit."""


@contextlib.contextmanager
def supervising(run: Path) -> Iterator[None]:
    """Be the only supervisor of a run; end what an earlier one left running, so that the journal is free.

    A polite kill (SIGTERM) ends the run as Ctrl-C does, and Ctrl-C is heard also where a shell told us not to.

    Raises:
        OutputUnwritable (RF107): another one is at work.
    """
    with (run / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputUnwritable(f"{run} is being run by another `ringfort up`") from error
        end_orphans((run / FOLDER).resolve())
        before = {number: signal.signal(number, signal.default_int_handler) for number in _POLITE}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def deploy(
    run: Path,
    recipe: Recipe,
    members: Members,
    clients: tuple[ClientId, ...],
    helpers: tuple[ClientId, ...],
    digest: str,
) -> Kits:
    """Make RUN/deployment (startup kits and profiles, replaced each time) and, without [identity], RUN/members.

    Guarantees:
        Without [identity]: every party's signing key is made in its own folder (mode 0700) and leaves it in no message.
        The authority's keys are deleted once all are enrolled. Enrolments and TLS certificates end after a day; a run
        that goes on before that keeps its identities, later it gets new ones.
        With [identity]: the members' folders and the registry are read and never written.
        Where the log's key lies is said to the server's site alone. No job holds a key, or the path of one.

    Does not protect: one user of one machine owns all folders; nothing keeps the parties apart but their processes.
    """
    folder = (run / FOLDER).resolve()
    log = log_profile(recipe, run)
    kits = provision(folder, (*clients, *helpers))
    members.enrol(clients, helpers)
    members.collect((*clients, *helpers))
    write_atomic(folder / "recipe.toml", to_toml(recipe.model_copy(update={"log": None}).resolved()).encode())
    shared = {
        "recipe": str(folder / "recipe.toml"),
        "grants": str(members.grants),
        "folder": str(run.resolve()),
        "registry": str(members.registry),
        "outcome": str(folder / "outcome.json"),
    }
    for name, kit in (*kits.clients.items(), (members.server, kits.server)):
        made = "serve" if name == members.server else "helper" if name in helpers else "client"
        own: dict[str, Any] = {"party": name, "home": str(members.homes / name), "kept": str(members.kept / name)}
        if name == members.server and log is not None:
            own["log"] = log
        if made != "helper":
            own |= rows_profile(recipe, None if made == "serve" else name)
        write_profile(kit, digest, f"ringfort.app.sites:{made}", {**shared, **own})
    return kits


def forget_keys(run: Path) -> None:
    """Delete every TLS key of a deployment that has ended; logs, certificates and policies stay.

    Members keep their signing keys, so that the run can go on under the same names; they end with the enrolments.
    """
    folder = run / FOLDER
    for path in folder.glob("*/startup/*.key"):
        path.unlink()
    shutil.rmtree(folder / "jobs", ignore_errors=True)


@dataclass(frozen=True)
class Event:
    """Something that happened to the engine, and how long it took to go on.

    Args:
        at: UTC.
        what: `submitted`, `ended`, `resubmitted` or `restarted`.
        job: ours.
        round: rounds committed by then.
        why: in words.
        culprits: parties whose process ended the job.
        seconds: since the job before it was seen to end.
    """

    at: str
    what: str
    job: str
    round: int
    why: str = ""
    culprits: tuple[ClientId, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """One line of engine.jsonl."""
        return {
            "at": self.at,
            "what": self.what,
            "job": self.job,
            "round": self.round,
            "why": self.why,
            "culprits": list(self.culprits),
            "seconds": round(self.seconds, 3),
        }


class Jobs(Protocol):
    """What a supervisor asks of a deployment: `Deployment` on this machine, `Remote` where others run the sites."""

    def start(self, without: Collection[ClientId] = ()) -> None:
        """Have everybody else connected."""
        ...

    def submit(self, recipe: str, sites: Collection[ClientId]) -> Running:
        """Begin a job."""
        ...

    def watch(self, job: Running, done: Callable[[], bool]) -> None:
        """Return when it is done; raise JobAborted if it ends before."""
        ...

    def culprits(self, job: Running) -> tuple[ClientId, ...]:
        """Whose process ended it."""
        ...

    def clear(self, job: Running) -> bool:
        """End what is left of it; whether the server still runs."""
        ...

    def close(self) -> None:
        """Have nothing more to do with it until the next `start`."""
        ...


@dataclass
class Supervisor:
    """Keeps a run going over jobs that end: every job goes on from the last committed round.

    Args:
        deployment: of the run.
        run: its folder.
        outcome: where the server's process says how a job ended.
        digest: of the recipe.
        clients: everybody who takes part.
        helpers: the seal's; no job runs without them.
        observe: told of every committed round, once, in order: first of those that were there before.
        refresh: called before each job: what a site reads anew when a job begins.

    Policy: a client whose process ended a job is left out of the jobs after it, until the run is started again with
        --resume. If several are gone at once, nobody is. Three jobs in a row that commit nothing end the run.
    """

    deployment: Jobs
    run: Path
    outcome: Path
    digest: str
    clients: tuple[ClientId, ...]
    helpers: tuple[ClientId, ...]
    observe: Callable[[RoundRecord], None]
    without: set[ClientId] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    refresh: Callable[[], None] = field(default=lambda: None, repr=False)
    _tail: Tail = field(init=False)

    def __post_init__(self) -> None:
        self._tail = Tail(self.run)

    def go(self) -> None:
        """Until the federation is done.

        Raises:
            RingfortError: what the federation itself raised at the server; EngineError: jobs end without progress;
                BrokenChain: what is committed does not continue the chain.
        """
        idle, ended, restarted = 0, None, False
        while True:
            before = self._committed()
            self.refresh()
            try:
                self.deployment.start(self.without)
                job = self.deployment.submit(self.digest, self._sites())
            except (TransportError, JobAborted) as error:
                self._note("ended", "", str(error))
                idle += 1
                if idle >= _JOBS_WITHOUT_PROGRESS:
                    raise
                self.deployment.close()
                ended, restarted = ended or time.monotonic(), True
                continue
            seconds = 0.0 if ended is None else time.monotonic() - ended
            what = "submitted" if ended is None else "restarted" if restarted else "resubmitted"
            self._note(what, job.run, seconds=seconds)
            why = self._watch(job)
            if why is None:
                return
            ended = time.monotonic()
            time.sleep(_SETTLE_S)
            dead = self.deployment.culprits(job)
            if len(dead) > 1:  # whoever ended it took the others along: nobody can be named
                why, dead = f"{why} (now gone: {', '.join(dead)})", ()
            self._note("ended", job.run, why, dead)
            if set(dead) & set(self.helpers):
                dead = tuple(name for name in dead if name not in self.helpers)
            self.without |= set(dead)
            restarted = not self._tidy(job)
            idle = 0 if self._committed() > before else idle + 1
            if idle >= _JOBS_WITHOUT_PROGRESS:
                raise EngineError(f"{idle} jobs in a row ended before a round was committed; the last: {why}")

    def _committed(self) -> int:
        """The last committed round, -1 before round 0."""
        for record in self._tail.look():
            self.observe(record)
        return self._tail.records[-1].round if self._tail.records else -1

    def _sites(self) -> list[ClientId]:
        return [name for name in (*self.clients, *self.helpers) if name not in self.without]

    def _watch(self, job: Running) -> str | None:
        """Why the job ended, or None if the federation is done."""

        def done() -> bool:
            self._committed()
            return outcome_of(self.outcome, job.run) is not None

        try:
            self.deployment.watch(job, done)
        except JobAborted as error:
            said = outcome_of(self.outcome, job.run)
            if said is None:
                return error.message
        said = outcome_of(self.outcome, job.run) or {}
        if said.get("status") == "done":
            self._committed()
            return None
        if said.get("status") == "aborted":
            return said["message"]
        raise _raised(said)

    def _tidy(self, job: Running) -> bool:
        """End what is left of a job; False if the whole deployment had to be ended for it."""
        if self.deployment.clear(job):
            return True
        self.deployment.close()
        return False

    def _note(
        self, what: str, job: str, why: str = "", culprits: tuple[ClientId, ...] = (), seconds: float = 0.0
    ) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = Event(at, what, job, self._committed(), why, culprits, seconds)
        self.events.append(event)
        append_in_turn(self.run / EVENTS, "engine", canonical_json(event.to_json()) + b"\n")


def _raised(said: dict[str, str]) -> RingfortError:
    """The error that the server's process reported, as one of this process."""
    code = said.get("code", "RF600")
    message = said.get("message", "the server's process ended without a word")
    kinds: dict[str, type[RingfortError]] = {kind.code: kind for kind in _kinds(RingfortError)}
    kind = kinds.get(code, EngineError)
    try:
        return kind(message)
    except TypeError:
        return EngineError(f"{code}: {message}")


def _kinds(root: type[RingfortError]) -> list[type[RingfortError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _kinds(child))]
