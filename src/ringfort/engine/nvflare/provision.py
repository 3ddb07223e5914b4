"""Startup kits for a federation on one machine. Imports nvflare.

Each party gets a folder of its own, readable by nobody else, with the locked-down site policy: no code from a job, and
only our two classes beside the two that run them. The authority's key is deleted before this returns, so the kits can
be neither extended nor renewed: provision again. Certificates live one day.

For sites on several machines, where no private key may travel, see docs/deployment.md.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nvflare.lighter.provision import prepare_builders, prepare_project
from nvflare.lighter.provisioner import Provisioner

from ringfort.core.errors import InvalidValue
from ringfort.core.values import ClientId
from ringfort.engine.nvflare.kit import lock_down

__all__ = ["ADMIN", "SERVER", "Kits", "free_ports", "provision"]

SERVER: Final = "localhost"
ADMIN: Final = "admin@ringfort.internal"
_PROJECT: Final = "ringfort"
_LIFE_DAYS: Final = 1
_OURS: Final = frozenset({"server", "admin", "making", "jobs", "grants", SERVER})


@dataclass(frozen=True)
class Kits:
    """Where the startup kits are.

    Args:
        server: the server's.
        clients: by name; helpers of a seal are among them.
        admin: the operator's.
        port: where clients connect.
        admin_port: where the operator connects.
    """

    server: Path
    clients: dict[ClientId, Path]
    admin: Path
    port: int
    admin_port: int


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def provision(folder: Path, clients: Sequence[ClientId]) -> Kits:
    """Make the kits in `folder`, which is replaced.

    Raises:
        InvalidValue (RF104): no clients, or one with a name that the deployment has a folder for.
    """
    if not clients:
        raise InvalidValue("a deployment needs at least one client")
    if taken := sorted(_OURS & set(clients)):
        raise InvalidValue(f"no client of a deployment may be called {taken[0]!r}: another folder has that name")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    port, admin_port = free_ports(2)
    made = _make(folder / "making", clients, port, admin_port)
    kits = Kits(folder / "server", {name: folder / name for name in clients}, folder / "admin", port, admin_port)
    places: dict[str, Path] = {SERVER: kits.server, ADMIN: kits.admin}
    for name, kit in (*places.items(), *kits.clients.items()):
        shutil.move(made / name, kit)
        kit.chmod(0o700)
    shutil.rmtree(folder / "making")  # with the authority's key, and everybody's
    for kit in (kits.server, *kits.clients.values()):
        lock_down(kit)
    return kits


def _make(where: Path, clients: Sequence[ClientId], port: int, admin_port: int) -> Path:
    project: dict[str, Any] = {
        "api_version": 3,
        "name": _PROJECT,
        "description": "made by ringfort up",
        "participants": [
            {
                "name": SERVER,
                "type": "server",
                "org": "coordinator",
                "fed_learn_port": port,
                "admin_port": admin_port,
                "default_host": SERVER,
            },
            {"name": ADMIN, "type": "admin", "org": "coordinator", "role": "project_admin"},
            *({"name": name, "type": "client", "org": name.replace("-", "_")} for name in clients),
        ],
        "builders": [
            {"path": "nvflare.lighter.impl.workspace.WorkspaceBuilder"},
            {
                "path": "nvflare.lighter.impl.static_file.StaticFileBuilder",
                "args": {"config_folder": "config", "scheme": "http"},
            },
            {"path": "nvflare.lighter.impl.cert.CertBuilder", "args": {"root_valid_days": _LIFE_DAYS}},
            {"path": "nvflare.lighter.impl.signature.SignatureBuilder"},
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        Provisioner(str(where), prepare_builders(project), None).provision(prepare_project(project))
    return where / _PROJECT / "prod_00"
