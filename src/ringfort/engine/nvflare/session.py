"""The operator's session with the server: submit, ask, abort. Imports nvflare."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import TransportError
from ringfort.engine.nvflare.provision import ADMIN

__all__ = ["Session"]

_PAUSE_S: Final = 0.1


class Session:
    """A connection to the admin port, with the operator's certificate.

    Args:
        kit: the operator's.
        within_s: how long the server may take to answer.
        alive: raises once there is no use in waiting any longer.
        name: the operator's, as its certificate has it.

    Raises:
        TransportError (RF602): no answer in time.
    """

    def __init__(self, kit: Path, within_s: float, alive: Callable[[], None], name: str = ADMIN) -> None:
        from nvflare.fuel.flare_api.flare_api import new_secure_session

        logging.getLogger("nvflare").setLevel(logging.CRITICAL)
        until = time.monotonic() + within_s
        while True:
            alive()
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # it talks
                    self._session: Any = new_secure_session(name, str(kit), timeout=5.0)
                return
            except Exception as error:
                if time.monotonic() > until:
                    raise TransportError(f"the server did not answer its operator: {error}") from error
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
        """The sites that the server knows now."""
        try:
            return {str(client.name) for client in self._session.get_system_info().client_info}
        except Exception as error:
            raise TransportError(f"the server did not say who is connected: {error}") from error

    def submit(self, job: Path) -> str:
        """Submit a job's folder; its id.

        Raises:
            TransportError (RF602): the server did not take it.
        """
        try:
            return str(self._session.submit_job(str(job)))
        except Exception as error:
            raise TransportError(f"the server did not take the job: {error}") from error

    def status(self, job: str) -> str:
        """As the server says it, `RUNNING` or `FINISHED:...`."""
        return str(self._session.get_job_meta(job).get("status", ""))

    def abort(self, job: str) -> None:
        """End a job."""
        self._session.abort_job(job)

    def close(self) -> None:
        """End the session."""
        self._session.close()
