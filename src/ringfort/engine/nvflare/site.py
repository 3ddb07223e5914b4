"""What NVFlare runs in a job: the two classes that its configuration names. Imports nvflare.

A job's configuration holds two strings, the run's name and the recipe's digest. What a site does in that run stands in
its own `local/ringfort.json`, which its owner wrote; a job whose recipe is another than the one there is refused:

    {"v": 1, "recipe": "<digest>", "make": "package.module:function", "arguments": {...}}

At a client `function(arguments)` returns a Node; at the server `function(arguments, Job)` runs the federation.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvflare.collab import collab
from nvflare.collab.api.exceptions import CollabCallError, RunAborted

from ringfort.core.errors import JobAborted, TransportError
from ringfort.core.files import write_atomic
from ringfort.core.ports import Failure
from ringfort.core.values import ClientId, client_id
from ringfort.engine.in_process import Node, answer, words
from ringfort.engine.nvflare.exchange import Call
from ringfort.engine.nvflare.kit import read_profile
from ringfort.engine.packed import pack

__all__ = ["ClientSite", "Job", "ServerSite"]

# Only bytes and text cross the wire, so NVFlare need not learn to decode tensors: one decoder less for hostile bytes,
# and torch is not imported by sites that do not train with it.
sys.modules.setdefault("nvflare.app_opt.pt.decomposers", None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Job:
    """What the server's side of a job is given.

    Args:
        run: the job's name.
        calls: how to ask every other site of the job.
        aborted: whether the engine is ending the job.
    """

    run: str
    calls: Mapping[ClientId, Call] = field(repr=False)
    aborted: Callable[[], bool] = field(repr=False)


def _profile(folder: Path, recipe: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function that this site's owner named, and its arguments."""
    make, arguments = read_profile(folder, recipe)
    module, _, name = make.partition(":")
    return getattr(importlib.import_module(module), name), arguments


def _local() -> Path:
    return Path(collab.workspace.get_site_config_dir())


def _note_process(run: str) -> None:
    """So that a supervisor on this machine knows whose process died."""
    write_atomic(_local() / "process.json", json.dumps({"run": run, "pid": os.getpid()}).encode())


class ClientSite:
    """A client, or a helper of a seal, for as long as the job lasts.

    Args:
        run: the job's name.
        recipe: digest of what is to be run.

    Guarantees:
        Only the server may call. One message at a time; one that waited while a newer one came is dropped. No exception
        and no exit of the party's code leaves this class: it becomes the answer.

    Does not protect: code that ends the whole process (os._exit, a crash in C, the kernel out of memory) ends the job
        for everybody. Limit what else runs there; the server's supervisor leaves the culprit out and goes on.
    """

    def __init__(self, run: str, recipe: str) -> None:
        self._run = run
        self._recipe = recipe
        self._lock = threading.Lock()
        self._newest = 0
        self._node: Node | None = None
        self._broken = "has not begun"

    @collab.init  # type: ignore[untyped-decorator]
    def begin(self) -> None:
        """Make the node from the site's own profile. A failure is told to the server at every call; it ends no job."""
        try:
            _note_process(self._run)
            make, arguments = _profile(_local(), self._recipe)
            self._node = make(arguments)
        except BaseException as error:
            self._broken = words(error)

    @collab.publish  # type: ignore[untyped-decorator]
    def handle(self, stage: object, body: object) -> bytes:
        """Answer one message of the server: a stage's name and bytes, and bytes back."""
        name = client_id(collab.site_name)
        if collab.caller != "server":
            return pack(Failure(name, "only the server may call"))
        if not isinstance(stage, str) or not isinstance(body, bytes):
            return pack(Failure(name, "a message is a stage's name and bytes"))
        self._newest += 1
        mine = self._newest
        with self._lock:
            if mine != self._newest:
                return pack(Failure(name, "a newer message came before this one was read"))
            try:
                if self._node is None:
                    raise TransportError(self._broken)
                return pack(answer(name, self._node.handle, stage, body))
            except BaseException as error:
                return pack(Failure(name, words(error)))


class ServerSite:
    """The server's side of a job: it runs the federation of this site's profile, in this process.

    Args:
        run: the job's name.
        recipe: digest of what is to be run.
    """

    def __init__(self, run: str, recipe: str) -> None:
        self._run = run
        self._recipe = recipe

    @collab.main  # type: ignore[untyped-decorator]
    def serve(self) -> None:
        """Run until the federation ends."""
        _note_process(self._run)
        context = collab.context
        calls = {client_id(proxy.name): _call(proxy) for proxy in collab.clients}
        make, arguments = _profile(_local(), self._recipe)
        make(arguments, Job(self._run, calls, lambda: bool(context.is_aborted())))


def _call(proxy: Any) -> Call:
    def ask(stage: str, payload: bytes, timeout_s: float) -> bytes:
        try:
            return proxy(timeout=timeout_s).handle(stage, payload)  # type: ignore[no-any-return]
        except RunAborted as error:
            raise JobAborted("the engine ends the job") from error
        except CollabCallError as error:
            if isinstance(error.cause, TimeoutError):
                raise error.cause from error
            raise TransportError(f"{error.cause_type}: {error.cause}") from error

    return ask
