"""A job's folder: configuration alone. It names our two classes, the run, the recipe's digest and the sites."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import InvalidValue
from ringfort.core.values import ClientId

__all__ = ["write_job"]

_SYNC_S: Final = 600
"""How long sites may take to load their data and models before the first message."""


def write_job(folder: Path, run: str, recipe: str, sites: Sequence[ClientId]) -> Path:
    """Write a job for exactly these sites; an older one in `folder` is replaced.

    Raises:
        InvalidValue (RF104): no sites.
    """
    if not sites:
        raise InvalidValue("a job needs at least one site")
    shutil.rmtree(folder, ignore_errors=True)
    ours = {"run": run, "recipe": recipe}
    controller = {"server_obj_id": "_server", "collab_obj_ids": [], "sync_task_timeout": _SYNC_S}
    server = {
        "format_version": 2,
        "server": {"task_request_interval": 0.05},
        "workflows": [
            {"id": "controller", "path": "nvflare.collab.runtime.controller.CollabController", "args": controller}
        ],
        "components": [{"id": "_server", "path": "ringfort.engine.nvflare.site.ServerSite", "args": ours}],
    }
    executor = {
        "path": "nvflare.collab.runtime.executor.CollabExecutor",
        "args": {"client_obj_id": "_client", "collab_obj_ids": []},
    }
    client = {
        "format_version": 2,
        "executors": [{"tasks": ["*"], "executor": executor}],
        "components": [{"id": "_client", "path": "ringfort.engine.nvflare.site.ClientSite", "args": ours}],
    }
    meta = {
        "name": run,
        "resource_spec": {},
        "min_clients": len(sites),
        "mandatory_clients": list(sites),
        "deploy_map": {"at_server": ["server"], "at_client": list(sites)},
    }
    _write(folder / "meta.json", meta)
    _write(folder / "at_server" / "config" / "config_fed_server.json", server)
    _write(folder / "at_client" / "config" / "config_fed_client.json", client)
    return folder


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))
