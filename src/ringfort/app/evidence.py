"""Where the two sides of a run's history lie, and whose key vouches for the names in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ringfort.app import recipe as recipes
from ringfort.app.members import EARLIER, ENDED, MEMBERS, PUBLIC, server_of
from ringfort.audit.history import Keys
from ringfort.core.errors import InvalidValue
from ringfort.core.seal import COORDINATOR
from ringfort.core.values import ClientId, client_id
from ringfort.identity import Home, RegistryView, Role
from ringfort.identity.registry import REGISTRY_FILE

__all__ = ["authority_key", "kept_by", "keys_of", "server_name"]

_PINS: Final = "federation.json"
_MAX_BYTES: Final = 1024


def authority_key(text: str) -> bytes:
    """An authority's public key: 64 hexadecimal characters, a file with them, or a member's folder (or its pins file).

    Raises:
        InvalidValue (RF104): none of these.
    """
    path = Path(text)
    try:
        if path.name == _PINS and path.is_file():
            path = path.parent
        if path.is_dir():
            return Home(path).pins().authority
        if path.is_file() and path.stat().st_size <= _MAX_BYTES:
            text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError):
        key = b""
    if len(key) != 32:
        raise InvalidValue(
            "an authority's key is 64 hexadecimal characters (`ringfort identity init` prints them), a file with them, "
            "or a member's folder, which pins it"
        )
    return key


def server_name(run: Path, given: str | None) -> ClientId:
    """The server whose receipts count: the one given, else the one that the run's recipe names."""
    if given is not None:
        return client_id(given)
    path = run / "recipe.toml"
    return server_of(recipes.read(path)) if path.exists() else COORDINATOR


def keys_of(run: Path, registry: Path | None, authority: bytes | None, server: ClientId) -> Keys:
    """Every key that the registry ever enrolled, believed by the authority's.

    Args:
        run: the run's folder. Of a run that enrolled its own members, their registries and keys are there.
        registry: the organisation's, or a copy.
        authority: its key.
        server: whose receipts count.

    Raises:
        InvalidValue (RF104): nothing says whose keys count, or the server is enrolled as no server.
        BrokenChain (RF701): the registry is not this authority's, or was edited.
    """
    own = run / MEMBERS / "authority"
    if registry is None:
        if not (own / REGISTRY_FILE).exists():
            raise InvalidValue(
                "this run did not enrol its own members: give the federation's --registry, and --authority, its key "
                "from somebody you trust"
            )
        if authority is None:
            earlier = sorted((run / MEMBERS / EARLIER).glob(f"*/{PUBLIC}"))
            keys = _keys(own / REGISTRY_FILE, Home(run / MEMBERS / "homes" / server).pins().authority, server)
            for public in earlier:
                keys = keys.beside(_keys(public.with_name(ENDED), authority_key(str(public)), server))
            return keys
        registry = own / REGISTRY_FILE
    if authority is None:
        raise InvalidValue("--registry needs --authority: a registry proves something by its authority's key alone")
    return _keys(registry, authority, server)


def _keys(registry: Path, authority: bytes, server: ClientId) -> Keys:
    state = RegistryView(registry, authority).state(datetime.now(UTC))
    if state.member(server).subject.role is not Role.SERVER:
        raise InvalidValue(f"{server} is enrolled as a client: name the server whose receipts count with --server")
    return Keys.of(state, authority, server)


def kept_by(run: Path, given: Sequence[str]) -> Mapping[ClientId, Path]:
    """Where clients keep their answers: as given, NAME=FOLDER each, else wherever `up` and `train` put them in a run.

    Raises:
        InvalidValue (RF104): not NAME=FOLDER, or a name twice.
    """
    found: dict[ClientId, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or not folder:
            raise InvalidValue(f"--kept is NAME=FOLDER, got {text!r}")
        if client_id(name) in found:
            raise InvalidValue(f"--kept names {name} twice")
        found[client_id(name)] = Path(folder)
    if given:
        return found
    folders = [path for part in ("clients", f"{MEMBERS}/kept") for path in sorted((run / part).glob("*/"))]
    return {client_id(path.name): path for path in folders if any(path.iterdir())}
