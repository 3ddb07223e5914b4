"""The processes of a deployment on this machine, each ended by its id and together with those it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ringfort.core.errors import TransportError

__all__ = ["Site", "children_of", "end_one", "end_orphans", "running"]

_GRACE_S: Final = 3.0
_DEAD_S: Final = 10.0
"""Until the system must have taken a killed process away, on a machine that is busy."""
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "RINGFORT_DATA", "XDG_DATA_HOME")


class Site:
    """One site's long-lived process, in a process group of its own; job processes are its children.

    Args:
        name: for messages.
        kit: its startup kit.
        server: whether it is the server.

    Guarantees:
        `end` ends the process and every process that came from it, also those it left behind, and no other: they are
        found by parent, by process group, and by their working folder inside the kit's path on their command line.
    """

    def __init__(self, name: str, kit: Path, *, server: bool) -> None:
        self.name = name
        self.kit = kit
        module = "server.server_train" if server else "client.client_train"
        config = "fed_server.json" if server else "fed_client.json"
        (kit / "transfer").mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-u",
            "-m",
            f"nvflare.private.fed.app.{module}",
            "-m",
            str(kit),
            "-s",
            config,
            "--set",
        ]
        command += ["secure_train=true", "config_folder=config", *_more(name, server)]
        self._log = (kit / "process.log").open("ab")
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            cwd=kit,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the parent process."""
        return self._process.pid

    def require(self) -> None:
        """Raise if the process is gone.

        Raises:
            TransportError (RF602).
        """
        code = self._process.poll()
        if code is not None:
            raise TransportError(f"the process of {self.name} ended with {code}; its log is {self.kit / 'process.log'}")

    def alive(self) -> bool:
        """Whether the parent process runs."""
        return self._process.poll() is None

    def ask_to_end(self) -> None:
        """Ask it, and all that came from it, to end."""
        _signal(self._family(), signal.SIGTERM)

    def end(self) -> None:
        """End it and all that came from it: asked first, made after a few seconds. Idempotent."""
        self.ask_to_end()
        family = self._family()
        until = time.monotonic() + _GRACE_S
        while time.monotonic() < until and (self.alive() or any(running(pid) for pid in family)):
            time.sleep(0.05)
        _end_all(lambda: {pid for pid in family | self._family() if running(pid)})
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if not self._log.closed:
            self._log.close()

    def end_child(self, pid: int) -> None:
        """End one process of this site at once, if it is one, and wait until it is gone."""
        end_one(pid, self.kit)

    def _family(self) -> set[int]:
        """Parent, children, and job processes that outlived their parent."""
        found = {pid for pid in _processes() if _belongs(pid, self.kit)}
        if self.alive():
            found |= {self.pid, *children_of(self.pid)}
        return found


def _more(name: str, server: bool) -> list[str]:
    return ["org=coordinator"] if server else [f"uid={name}", f"org={name.replace('-', '_')}"]


def _environment() -> dict[str, str]:
    passed = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2", "PYTHONDONTWRITEBYTECODE": "1"}
    path = os.pathsep.join([str(Path(sys.executable).parent), passed.get("PATH", os.defpath)])
    return {**passed, **quiet, "PATH": path}


def _processes() -> Iterable[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def end_orphans(folder: Path) -> int:
    """End the processes of kits below a folder that a killed supervisor left behind; how many there were."""
    kits = list(folder.iterdir()) if folder.is_dir() else []
    return _end_all(lambda: {pid for pid in _processes() if running(pid) and any(_belongs(pid, kit) for kit in kits)})


def end_one(pid: int, kit: Path) -> None:
    """End one process of this kit, if it is one, and wait until it is gone."""
    _end_all(lambda: {pid} if running(pid) and _belongs(pid, kit) else set())


def _end_all(find: Callable[[], set[int]]) -> int:
    """Kill what is found until nothing is, and all that was is gone; how many there were.

    One that dies may have started another meanwhile. And it has no command line any more, by which it was found, before
    it lets go of its files.
    """
    ended: set[int] = set()
    until = time.monotonic() + _DEAD_S
    while time.monotonic() < until:
        left = find()
        ended |= left
        if not left and not any(running(pid) for pid in ended):
            break
        _signal(left, signal.SIGKILL)
        time.sleep(0.01)
    return len(ended)


def _belongs(pid: int, kit: Path) -> bool:
    """Whether a process of ours names exactly this kit as its workspace."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        own = os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except OSError:
        return False
    return own and os.fsencode(kit) in words and any(word.startswith(b"nvflare.private.fed.app.") for word in words)


def children_of(pid: int) -> set[int]:
    """All processes below one."""
    parents = {}
    for other in _processes():
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{other}/stat") as file:
            parents[other] = int(file.read().rpartition(")")[2].split()[1])
    found: set[int] = set()
    layer = {pid}
    while layer := {child for child, parent in parents.items() if parent in layer} - found:
        found |= layer
    return found


def running(pid: int) -> bool:
    """Whether a process runs, and is not merely waiting to be reaped.

    A killed process keeps its files, and the locks on them, until its last thread is gone; the first may go before.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return any(_state(pid, thread) not in ("Z", "X") for thread in threads)


def _state(pid: int, thread: str) -> str:
    try:
        with open(f"/proc/{pid}/task/{thread}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
