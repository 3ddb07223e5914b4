"""An enrolled federation whose members' folders all lie on this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.keys import SigningKey
from ringfort.core.ports import Exchange
from ringfort.core.tensors import Schema
from ringfort.core.values import ClientId
from ringfort.core.wire import FRAME_OVERHEAD_BYTES
from ringfort.engine.signed.client import ClientSide, SignedClients
from ringfort.engine.signed.server import SignedExchange
from ringfort.identity.home import Home, Identity
from ringfort.identity.registry import RegistryView

__all__ = ["People"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class People:
    """Everybody's folders: whoever trains here signs with the key that was enrolled for its name.

    Args:
        registry: the registry's file.
        homes: the folder with one `Home` for each client, helper and the server, by name.
        server: the server's name; every client pins it, and it pins the authority.
        kept: where clients keep what they answered, one folder each; and the server what it took.
        clock: the time.

    Guarantees:
        Those of `SignedExchange` and `ClientSide`.

    Does not protect: all keys are on one machine, and whoever holds it is everybody.
    """

    registry: Path
    homes: Path
    server: ClientId
    kept: Path
    clock: Callable[[], datetime] = field(default=_now, repr=False)

    def require(self, names: Collection[ClientId]) -> None:
        """Refuse, before the first round, names without a folder and a server that may not speak.

        Raises:
            Incompatible (RF103): names who is missing. UnknownClient (RF202): the server is not enrolled now.
        """
        missing = sorted(name for name in (*names, self.server) if not (self.homes / name / "grant.json").exists())
        if missing:
            more = f" and {len(missing) - 1} others" if missing[1:] else ""
            raise Incompatible(f"{missing[0]}{more} has no enrolment under {self.homes}: enrol every client first")
        self.view().check(self.server, self.clock())

    def view(self) -> RegistryView:
        """The registry, believed by the authority that the server pinned when it was invited."""
        return RegistryView(self.registry, Home(self.homes / self.server).pins().authority)

    def keys(self, names: Iterable[ClientId]) -> dict[ClientId, SigningKey]:
        """The signing keys of these parties, for a seal.

        Raises:
            Incompatible (RF103): one has no enrolment.
        """
        try:
            return {name: Home(self.homes / name).identity().key for name in names}
        except InvalidValue as error:
            raise Incompatible(f"a party of the seal has no enrolment under {self.homes}: {error.message}") from error

    def exchange(self, inner: Exchange, schema: Schema, *, sealed: bool) -> SignedExchange:
        """`inner`, with every client's half of the signed wire around it, and the server's around that."""
        most = schema.encoded_bytes + FRAME_OVERHEAD_BYTES
        sides = {}
        for name in inner.members():
            folder = self.kept / "clients" / name
            folder.mkdir(parents=True, exist_ok=True)
            sides[name] = ClientSide(
                self._identity(name), self.server, clock=self.clock, max_request_bytes=most, folder=folder
            )
        return SignedExchange(
            SignedClients(inner, sides, sealed=sealed),
            self._identity(self.server),
            self.view(),
            clock=self.clock,
            max_reply_bytes=most,
            sealed=sealed,
            folder=self.kept,
        )

    def _identity(self, name: ClientId) -> Callable[[], Identity]:
        me = Home(self.homes / name).identity()
        return lambda: me
