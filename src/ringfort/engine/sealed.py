"""Sealed rounds on any exchange of this machine: the clients' sealing beside their training, and the helpers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ringfort.client.sealed import SealedClient
from ringfort.core.errors import Incompatible
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.ports import Exchange, Outcome, Reply
from ringfort.core.randomness import SecureRandom
from ringfort.core.seal import COORDINATOR, Decide, Seal
from ringfort.core.tensors import Schema
from ringfort.core.values import ClientId
from ringfort.engine.in_process import answer

__all__ = ["SealedExchange"]


class SealedExchange:
    """Puts every client of a plain exchange behind a seal, with the seal's helpers beside them.

    The inner exchange trains; the update frames that it returns are taken by each client's own sealing half and never
    reach the server's side.

    Args:
        inner: where the clients train. Attackers in it attack through the seal as everybody else.
        seal: its public parameters.
        schema: of the model.
        decide: the defence, as helpers run it.
        keys: every party's enrolled signing key; None makes new ones here, from the operating system.

    Does not protect: all parties share one process, so nothing but their code keeps them apart. It runs the real
        protocol and simulates the trust.
    """

    def __init__(
        self,
        inner: Exchange,
        seal: Seal,
        schema: Schema,
        decide: Decide,
        keys: Mapping[ClientId, SigningKey] | None = None,
    ) -> None:
        self._inner = inner
        self._trained: dict[ClientId, bytes] = {}
        members = inner.members()
        if {COORDINATOR, *seal.helpers()} & set(members):
            raise Incompatible(f"no client may be called {COORDINATOR!r} or like a helper of the seal {seal.name!r}")
        parties = (*members, *seal.helpers(), COORDINATOR)
        if keys is None:
            secure = SecureRandom()
            keys = {name: SigningKey(secure.token(32)) for name in parties}
        if set(parties) - set(keys):
            raise Incompatible(f"{min(set(parties) - set(keys))} is not enrolled: every party of a seal signs")
        self.directory = Directory({name: key.public for name, key in keys.items()})
        self.server = seal.server(keys[COORDINATOR], self.directory)
        self._parties: dict[ClientId, Callable[[str, bytes], bytes]] = {
            name: seal.helper(name, keys[name], self.directory, decide).handle for name in seal.helpers()
        }
        for name in members:
            sealed = SealedClient(name, self._frame_of(name), schema, seal.client(name, keys[name], self.directory))
            self._parties[name] = sealed.handle

    def _frame_of(self, name: ClientId) -> Callable[[bytes], bytes]:
        return lambda _: self._trained.pop(name)

    def members(self) -> tuple[ClientId, ...]:
        """The clients; helpers are no members."""
        return self._inner.members()

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """Train by the inner exchange; every other stage is answered by the parties' sealing halves."""
        out: dict[ClientId, Outcome] = {}
        if stage == "train":
            self._trained.clear()
            for name, reply in self._inner.exchange(stage, payloads, deadline_s).items():
                if isinstance(reply, Reply):
                    self._trained[name] = bytes(reply.body)
                else:
                    out[name] = reply
        for name, payload in payloads.items():
            if stage != "train" or name in self._trained:
                out[name] = answer(name, self._parties[name], stage, payload)
        return out

    def close(self) -> None:
        """Close the inner exchange."""
        self._inner.close()
