"""Whose keys a deployment on this machine signs with: members enrolled for this run alone, or an organisation's own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ringfort.app.recipe import Recipe
from ringfort.core.errors import Incompatible, RingfortError, UnknownClient
from ringfort.core.files import write_atomic
from ringfort.core.randomness import SecureRandom
from ringfort.core.seal import COORDINATOR
from ringfort.core.values import ClientId, client_id
from ringfort.engine.signed import People
from ringfort.identity import Authority, Grant, Home, JoinPolicy, Quota, Registry, Role, Subject
from ringfort.identity.keyfiles import private_folder, write_secret
from ringfort.identity.registry import REGISTRY_FILE
from ringfort.identity.times import stamp

__all__ = ["DEPLOYMENT", "EARLIER", "ENDED", "MEMBERS", "PUBLIC", "Members", "outside", "server_of"]

DEPLOYMENT: Final = "deployment"
MEMBERS: Final = "members"
EARLIER: Final = "earlier"
"""Below the members: registries of enrolments that ended before the run did."""
ENDED: Final = "ended.jsonl"
PUBLIC: Final = "authority.pub"
"""Beside a registry that was made for a run: its authority's public key."""
_LIFE: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_INVITED: Final = timedelta(minutes=10)


def server_of(recipe: Recipe) -> ClientId:
    """The name under which the server is enrolled: the one that every client pins."""
    return COORDINATOR if recipe.identity is None else client_id(recipe.identity.server)


def outside(run: Path, path: Path, what: str) -> Path:
    """`path`, absolute: a site's process works in another folder. Links stay: a fresh copy may come by another link.

    Raises:
        Incompatible (RF103): it lies where `up` replaces what it finds.
    """
    made = path.resolve()
    for replaced in (run.resolve() / DEPLOYMENT, run.resolve() / MEMBERS):
        if made.is_relative_to(replaced):
            raise Incompatible(f"{what} lies in {replaced}, which `ringfort up` replaces: keep it outside the run")
    return path.absolute()


@dataclass(frozen=True)
class Members:
    """The folders of everybody who takes part in a deployment.

    Args:
        run: the run's folder.
        server: the server's name.
        registry: who may speak now.
        homes: one `Home` for each client, helper and the server, by name.
        grants: everybody's enrolments, for the parties of a seal.
        kept: what each client keeps of its answers, one folder each.
        ours: everybody was enrolled for this run alone, and their folders may be replaced.
    """

    run: Path
    server: ClientId
    registry: Path
    homes: Path
    grants: Path
    kept: Path
    ours: bool

    @classmethod
    def of(cls, run: Path, recipe: Recipe) -> Members:
        """Those of the recipe's [identity]; without one, those that `enrol` makes in the run's folder.

        Raises:
            Incompatible (RF103): a seal whose server is not called coordinator; a folder that `up` replaces.
        """
        spec, at = recipe.identity, run.resolve()
        if spec is None:
            own = at / MEMBERS
            registry = own / "authority" / REGISTRY_FILE
            return cls(at, COORDINATOR, registry, own / "homes", own / "grants", own / "kept", ours=True)
        if recipe.seal is not None and spec.server != COORDINATOR:
            raise Incompatible(
                f"behind a seal the server signs as {COORDINATOR!r}: enrol it under that name and set identity.server "
                f"= {COORDINATOR!r}"
            )
        registry = outside(run, Path(spec.registry), "identity.registry")
        homes = outside(run, Path(spec.homes), "identity.homes")
        return cls(at, server_of(recipe), registry, homes, at / DEPLOYMENT / "grants", at / "clients", ours=False)

    def require(self, clients: Iterable[ClientId], helpers: Iterable[ClientId]) -> None:
        """Refuse, before anything starts, what `train` would refuse. Clients that may not speak now are not asked.

        Raises:
            Incompatible (RF103): names who has no enrolment; two parties have one name; the server is no server.
            UnknownClient (RF202): the server or a helper may not speak now.
            BrokenChain (RF701): the registry cannot be believed.
        """
        servers = (self.server, *helpers)
        everybody = (*clients, *servers[1:])
        if self.server in everybody:
            raise Incompatible(f"{self.server} is the server's name and a client's or helper's: one needs another name")
        if self.ours:
            return
        self._people().require(everybody)
        state = self._people().view().state(datetime.now(UTC))
        for name in servers:
            if state.check(name).subject.role is not Role.SERVER:
                raise Incompatible(f"{name} is enrolled as a client: enrol it with `ringfort identity invite --server`")

    def _people(self) -> People:
        return People(self.registry, self.homes, self.server, self.run)

    def enrol(self, clients: tuple[ClientId, ...], helpers: tuple[ClientId, ...]) -> None:
        """Enrol everybody for this run, unless all are for another hour; an organisation's members are left alone."""
        if self.ours and not self._enrolled((self.server, *clients, *helpers)):
            _enrol(self.run / MEMBERS, clients, helpers)

    def _enrolled(self, names: tuple[ClientId, ...]) -> bool:
        now = datetime.now(UTC)
        try:
            return all(Home(self.homes / name).identity().grant.enrolment.expires > now + _HOUR for name in names)
        except RingfortError:
            return False

    def collect(self, names: Iterable[ClientId]) -> None:
        """Put everybody's enrolment in force where all can read it. Before each job: a member may have new keys.

        One that is missing, damaged or not the authority's is passed over: its owner takes part in no seal.
        """
        if self.ours:
            return
        self.grants.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = Home(self.homes / self.server).pins().authority
        for name in (self.server, *names):
            with contextlib.suppress(OSError, RingfortError):
                grant = Grant.decode((self.homes / name / "grant.json").read_bytes())
                grant.verify(authority)
                if grant.enrolment.subject.name == name:
                    write_atomic(self.grants / f"{name}.json", grant.encode())

    def silenced(self, clients: Iterable[ClientId]) -> dict[ClientId, str]:
        """Who of these may not speak now, and why, as the registry has it."""
        if self.ours:
            return {}
        state, found = self._people().view().state(datetime.now(UTC)), {}
        for name in clients:
            try:
                state.check(name)
            except UnknownClient as error:
                revoked = state.members[name].revoked if name in state.members else None
                found[name] = (
                    f"{name} was revoked at {stamp(revoked.at)} ({revoked.reason})" if revoked else error.message
                )
        return found


def _enrol(members: Path, clients: tuple[ClientId, ...], helpers: tuple[ClientId, ...]) -> None:
    """Everybody, with new keys. What clients kept stays, and so does the registry by which it can be checked."""
    now = datetime.now(UTC)
    at = members / "authority"
    members.mkdir(mode=0o700, exist_ok=True)
    if at.exists() and not list(at.glob("*.key.pem")):  # or it was cut while everybody was being enrolled
        private_folder(members / EARLIER)
        if (at / REGISTRY_FILE).exists():
            (at / REGISTRY_FILE).rename(at / ENDED)  # no deny list any more
        at.rename(members / EARLIER / SecureRandom().token(8).hex())
    for folder in (at, members / "homes", members / "grants"):
        shutil.rmtree(folder, ignore_errors=True)
    for letter in members.glob("*.letter"):
        letter.unlink()
    for folder in (members / "homes", members / "grants", members / "kept"):
        folder.mkdir(mode=0o700, exist_ok=True)
    authority = Authority.create(at, "loopback", ("localhost",), _LIFE, now)
    (at / PUBLIC).write_text(f"{authority.key.public.hex()}\n")
    policy = JoinPolicy(burst=1, every=timedelta(days=1), cool_down=timedelta(0), life=_LIFE)
    with Registry.open_new(at / REGISTRY_FILE, authority, policy, now) as registry:
        for name in (COORDINATOR, *helpers, *clients):
            server = name not in clients
            subject = Subject(name, name, Role.SERVER if server else Role.CLIENT, ("localhost",) if server else ())
            letter = members / f"{name}.letter"
            write_secret(letter, registry.invite(subject, Quota(1, 1 << 30), _INVITED, now).encode())
            home = Home(members / "homes" / name)
            grant = registry.admit(home.apply(letter).encode(), now)
            home.accept(grant, now)
            letter.unlink()
            (members / "grants" / f"{name}.json").write_bytes(grant.encode())
    for key in at.glob("*.key.pem"):  # nobody joins any more
        key.unlink()
