"""A federation's identities in one folder: everybody is enrolled by the real steps, on one machine.

authority/   the authority and its registry        homes/NAME/   each member's keys and grant
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from ringfort.core.keys import SigningKey
from ringfort.core.ports import Exchange
from ringfort.core.seal import COORDINATOR
from ringfort.core.values import ClientId
from ringfort.engine.signed import ClientSide, SignedExchange
from ringfort.identity.authority import Authority, Role, Subject
from ringfort.identity.enrolment import Grant
from ringfort.identity.home import Home, Identity
from ringfort.identity.invitations import JoinPolicy, Quota
from ringfort.identity.keyfiles import private_folder, write_secret
from ringfort.identity.registry import REGISTRY_FILE, Registry, RegistryView

__all__ = ["Enrolled", "enrol"]

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Enrolled:
    """A folder in which an authority, a server and clients are enrolled.

    Args:
        folder: holds `authority/` and `homes/NAME/`.
        authority: the authority's public key.
        server: the server's name.
        clients: the clients' names.
    """

    folder: Path
    authority: bytes
    server: ClientId
    clients: tuple[ClientId, ...]

    @property
    def registry(self) -> Path:
        """The registry's file."""
        return self.folder / "authority" / REGISTRY_FILE

    def view(self) -> RegistryView:
        """The registry as the round server sees it."""
        return RegistryView(self.registry, self.authority)

    def writer(self) -> Registry:
        """The registry as the authority writes it: close it afterwards."""
        return Registry(self.registry, Authority.load(self.folder / "authority"))

    def home(self, name: str) -> Home:
        """One member's folder."""
        return Home(self.folder / "homes" / name)

    def identity(self, name: str) -> Identity:
        """One member's enrolment and key, as they are now."""
        return self.home(name).identity()

    def key(self, name: str) -> SigningKey:
        """One member's signing key."""
        return self.identity(name).key

    def side(self, name: str, *, clock: Callable[[], datetime], most: int, folder: Path | None = None) -> ClientSide:
        """One client's half of the signed wire; requests of at most `most` bytes."""
        me = self.identity(name)
        return ClientSide(lambda: me, self.server, clock=clock, max_request_bytes=most, folder=folder)

    def exchange(
        self,
        inner: Exchange,
        *,
        clock: Callable[[], datetime],
        most: int,
        sealed: bool = False,
        folder: Path | None = None,
    ) -> SignedExchange:
        """The server's half around `inner`; answers of at most `most` bytes."""
        me = self.identity(self.server)
        return SignedExchange(
            inner,
            lambda: me,
            self.view(),
            clock=clock,
            max_reply_bytes=most,
            sealed=sealed,
            folder=folder,
        )


def enrol(
    folder: Path,
    clients: Iterable[str],
    now: datetime,
    *,
    servers: Iterable[str] = (COORDINATOR,),
    federation: str = "demo",
    max_examples: int = 1_000_000,
    life: timedelta = timedelta(days=1),
    cool_down: timedelta = timedelta(0),
) -> Enrolled:
    """Enrol everybody by the real steps: invitation, keys at the member, request, grant.

    Every client is an organisation of its own.

    Args:
        folder: empty, or not there yet.
        clients: their names.
        now: the time, with its zone.
        servers: the first is the one that asks.
        federation: its name.
        max_examples: most examples a client may claim.
        life: of an enrolment.
        cool_down: how long a newcomer is not heard.
    """
    names, helpers = tuple(clients), tuple(servers)
    private_folder(folder)
    private_folder(folder / "homes")
    private_folder(folder / "letters")
    policy = JoinPolicy(burst=1 + len(helpers), every=timedelta(seconds=1), cool_down=cool_down, life=life)
    authority = Authority.create(folder / "authority", federation, (HOST,), timedelta(days=365), now)
    with Registry.open_new(folder / "authority" / REGISTRY_FILE, authority, policy, now) as registry:
        add = partial(_add, folder, registry, now)
        for name in helpers:
            add(Subject(ClientId(name), "operator", Role.SERVER, (HOST,)), Quota(1, max_examples))
        for name in names:
            add(Subject(ClientId(name), name, Role.CLIENT), Quota(1, max_examples))
    return Enrolled(folder, authority.key.public, ClientId(helpers[0]), tuple(ClientId(name) for name in names))


def _add(folder: Path, registry: Registry, now: datetime, subject: Subject, quota: Quota) -> Grant:
    letter = folder / "letters" / f"{subject.name}.letter"
    home = Home(folder / "homes" / subject.name)
    write_secret(letter, registry.invite(subject, quota, timedelta(hours=1), now).encode())
    grant = registry.admit(home.apply(letter).encode(), now)
    home.accept(grant, now)
    letter.unlink()
    return grant
