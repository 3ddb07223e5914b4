"""What a site's owner writes into its startup kit: the policy, and what the site does in a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.files import canonical_json, write_atomic

__all__ = ["ALLOWED", "PROFILE", "hide_ports", "lock_down", "read_profile", "write_profile"]

PROFILE: Final = "ringfort.json"
_LOOPBACK: Final = "127.0.0.1"
_MAX_PROFILE_BYTES: Final = 1 << 20

ALLOWED: Final = (
    "nvflare.collab.runtime.controller.CollabController",
    "nvflare.collab.runtime.executor.CollabExecutor",
    "ringfort.engine.nvflare.site.ClientSite",
    "ringfort.engine.nvflare.site.ServerSite",
)
"""The only classes that a job may name on our sites."""

_RIGHTS: Final = ("submit_job", "clone_job", "manage_job", "download_job", "view", "operate")
_FORBIDDEN: Final = ("shell_commands", "byoc", "server-predeployed-flwr")


def lock_down(kit: Path) -> None:
    """Write the site's policy beside its defaults.

    No code from jobs, our classes only, stores inside the kit, no log that is streamed elsewhere.

    Raises:
        InvalidValue (RF104): the folder is no startup kit.
    """
    local = kit / "local"
    try:
        resources = json.loads((local / "resources.json.default").read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidValue(
            f"{kit} is no startup kit: there is no local/resources.json.default to start from"
        ) from error
    resources["class_allow_list"] = list(ALLOWED)
    resources["class_list_enforcement_mode"] = "enforce"
    if "allow_log_streaming" in resources:
        resources["allow_log_streaming"] = False
    if "snapshot_persistor" in resources:
        resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(
            kit.resolve() / "store" / "snapshots"
        )
    components = [part for part in resources["components"] if part["id"] not in ("site_log_streamer", "log_receiver")]
    for part in components:
        if part["id"] == "job_manager":
            part["args"]["uri_root"] = str(kit.resolve() / "store" / "jobs")
    resources["components"] = components
    rights = {**dict.fromkeys(_RIGHTS, "any"), **dict.fromkeys(_FORBIDDEN, "none")}
    policy = {"format_version": "1.0", "permissions": dict.fromkeys(("project_admin", "lead"), rights)}
    write_atomic(local / "resources.json", json.dumps(resources, indent=2).encode())
    write_atomic(local / "authorization.json", json.dumps(policy, indent=2).encode())


def hide_ports(kit: Path, *, behind_proxy: bool) -> None:
    """Let a server's NVFlare listen for its operator on loopback alone; otherwise it does so on every address.

    Args:
        kit: the server's startup kit.
        behind_proxy: listen for the sites on loopback, too: a proxy on this machine carries their connections there.

    Raises:
        InvalidValue (RF104): the folder is no server's startup kit.
    """
    path = kit / "startup" / "fed_server.json"
    try:
        said = json.loads(path.read_bytes())
        (server,) = said["servers"]
        server["admin_host"] = _LOOPBACK
        port = int(str(server["service"]["target"]).rpartition(":")[2])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidValue(f"{kit} is no server's startup kit: {path} does not name one server") from error
    if behind_proxy:
        server["service"]["target"] = f"{_LOOPBACK}:{port}"
    write_atomic(path, json.dumps(said, indent=2).encode())


def read_profile(local: Path, recipe: str) -> tuple[str, dict[str, Any]]:
    """What a site does in a job for this recipe: its function's name, and the function's arguments.

    Raises:
        InvalidValue (RF104): there is no profile, or it is none. Incompatible (RF103): it is for another recipe.
    """
    try:
        with (local / PROFILE).open("rb") as file:
            said = json.loads(file.read(_MAX_PROFILE_BYTES))
    except (OSError, ValueError) as error:
        raise InvalidValue(
            f"{local / PROFILE} cannot be read: prepare the site with `ringfort site prepare`"
        ) from error
    if not isinstance(said, dict) or set(said) != {"v", "recipe", "make", "arguments"} or said["v"] != 1:
        raise InvalidValue(f"{PROFILE} must hold v = 1, recipe, make and arguments")
    if said["recipe"] != recipe:
        raise Incompatible("this job is for another recipe than the one that this site agreed to")
    return str(said["make"]), said["arguments"]


def write_profile(kit: Path, recipe: str, make: str, arguments: dict[str, Any]) -> None:
    """Say what a site does in a job for this recipe: see `site`."""
    profile = {"v": 1, "recipe": recipe, "make": make, "arguments": arguments}
    write_atomic(kit / "local" / PROFILE, canonical_json(profile))
