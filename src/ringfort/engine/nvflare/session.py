"""The operator's session with the server: submit, ask, abort.

NVFlare's own session is held by a process of its own, which this module is when it is run. A server that dies in the
middle of a handshake leaves that session waiting for ever, and no thread of Python's can be ended from outside; a
process can. Imports nvflare, in that process alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import TransportError

__all__ = ["Session"]

_PAUSE_S: Final = 0.1
_LOGIN_S: Final = 30.0
_ANSWER_S: Final = 30.0
_STATUS_S: Final = 3.0
_COMMAND: Final = [sys.executable, "-m", "ringfort.engine.nvflare.session"]


class Session:
    """A connection to the admin port, with the operator's certificate.

    Args:
        kit: the operator's.
        name: the operator's, as its certificate has it.
        within_s: how long the server may take to answer.
        alive: raises once there is no use in waiting any longer.

    Guarantees:
        No call waits longer than half a minute for one answer. One that had none ends the connection; the next call
        makes another.

    Raises:
        TransportError (RF602): no answer in time.
    """

    def __init__(self, kit: Path, name: str, within_s: float, alive: Callable[[], None]) -> None:
        self._words = [str(kit), name]
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        until = time.monotonic() + within_s
        while True:
            alive()
            try:
                self._begin()
                return
            except TransportError as error:
                if time.monotonic() > until:
                    raise TransportError(f"the server did not answer its operator: {error.message}") from error
                time.sleep(_PAUSE_S)

    def wait_for(self, names: set[str], within_s: float, alive: Callable[[], None]) -> None:
        """Until all these sites are connected.

        Raises:
            TransportError (RF602): names who is not, after `within_s`.
        """
        until = time.monotonic() + within_s
        while missing := names - self.connected():
            alive()
            if time.monotonic() > until:
                raise TransportError(f"not connected after {within_s:g} s: {', '.join(sorted(missing))}")
            time.sleep(_PAUSE_S)

    def connected(self) -> set[str]:
        """The sites that the server knows now.

        Raises:
            TransportError (RF602): it did not say.
        """
        return set(self._ask("connected"))

    def submit(self, job: Path) -> str:
        """Submit a job's folder; its id.

        Raises:
            TransportError (RF602): the server did not take it.
        """
        return str(self._ask("submit", str(job)))

    def status(self, job: str) -> str:
        """As the server says it, `RUNNING` or `FINISHED:...`. Waits a few seconds, and makes no new connection.

        Raises:
            TransportError (RF602): it did not say.
        """
        if self._process is None:
            raise TransportError("status: the session has ended")
        return str(self._ask("status", job, within_s=_STATUS_S))

    def abort(self, job: str) -> None:
        """End a job.

        Raises:
            TransportError (RF602): the server did not say that it will.
        """
        self._ask("abort", job)

    def close(self) -> None:
        """End the session. Idempotent."""
        process, self._process, self._rest = self._process, None, b""
        if process is not None:
            process.kill()
            process.communicate()

    def _begin(self) -> None:
        self.close()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [*_COMMAND, *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._answer("login", _LOGIN_S)
        except TransportError:
            self.close()
            raise

    def _ask(self, what: str, *words: str, within_s: float = _ANSWER_S) -> Any:
        if self._process is None:
            self._begin()
        process = self._process
        assert process is not None and process.stdin is not None  # noqa: S101, PT018
        try:
            process.stdin.write(json.dumps([what, *words]).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            self.close()
            raise TransportError(f"{what}: the session has ended") from error
        return self._answer(what, within_s)

    def _answer(self, what: str, within_s: float) -> Any:
        """The next line, which is what it said or why not."""
        line = self._line(within_s)
        if line is None:
            self.close()
            raise TransportError(f"{what}: no answer")
        said = json.loads(line)
        if "error" in said:
            raise TransportError(f"{what}: {said['error']}")
        return said["said"]

    def _line(self, within_s: float) -> bytes | None:
        process = self._process
        assert process is not None and process.stdout is not None  # noqa: S101, PT018
        until = time.monotonic() + within_s
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not ready.select(max(0.0, until - time.monotonic())):
                    return None
                if not (more := os.read(process.stdout.fileno(), 1 << 16)):
                    return None
                self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def _hold(kit: str, name: str) -> None:
    """The process's side: log in, then answer line by line until nobody asks any more."""
    import logging

    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # NVFlare talks on standard output

    def say(value: dict[str, Any]) -> None:
        out.write(json.dumps(value).encode() + b"\n")

    try:
        from nvflare.fuel.flare_api.flare_api import new_secure_session

        logging.getLogger("nvflare").setLevel(logging.CRITICAL)
        session: Any = new_secure_session(name, kit, timeout=5.0)
    except Exception as error:
        say({"error": str(error) or type(error).__name__})
        return
    does: dict[str, Callable[..., Any]] = {
        "connected": lambda: [str(client.name) for client in session.get_system_info().client_info],
        "submit": lambda job: str(session.submit_job(job)),
        "status": lambda job: str(session.get_job_meta(job).get("status", "")),
        "abort": lambda job: str(session.abort_job(job)),
    }
    say({"said": "ready"})
    for line in sys.stdin.buffer:
        what, *words = json.loads(line)
        try:
            say({"said": does[what](*words)})
        except Exception as error:
            say({"error": str(error) or type(error).__name__})


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _hold(*sys.argv[1:])
    os._exit(0)  # whatever its threads still wait for
