"""Puts attackers into a federation: an Exchange in which some of the clients are not what they seem."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ringfort.attacks.threat import Attack, AttackerView, DataAttack, UpdateAttack
from ringfort.client.node import LocalClient
from ringfort.core.errors import InvalidValue, MalformedUpdate
from ringfort.core.ports import Exchange, Failure, Model, Reply
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, ClientId
from ringfort.core.wire import Broadcast, encode_update, open_frame
from ringfort.engine.in_process import InProcess

__all__ = ["Infiltrated", "infiltrate"]


def infiltrate(
    clients: Collection[LocalClient],
    attack: Attack | None,
    hostile: Collection[ClientId],
    seeds: Seeds,
    workers: int = 1,
) -> Exchange:
    """The clients on the in-process engine, with `hostile` ones under the attack's control.

    A data attack poisons what the hostile clients hold, before they train. An update attack replaces what they send.
    Nobody else notices: the messages pass the same gate.

    Raises:
        InvalidValue (RF104): a hostile client that does not exist.
    """
    known = {client.client: client for client in clients}
    strangers = sorted(set(hostile) - set(known))
    if strangers:
        raise InvalidValue(f"hostile clients that do not exist: {', '.join(strangers)}")
    if isinstance(attack, DataAttack):
        for name in hostile:
            known[name] = _poisoned(known[name], attack, seeds)
    exchange: Exchange = InProcess(list(known.values()), workers)
    if isinstance(attack, UpdateAttack):
        model = next(iter(known.values())).model
        exchange = Infiltrated(exchange, attack, hostile, model, seeds)
    return exchange


def _poisoned(client: LocalClient, attack: DataAttack, seeds: Seeds) -> LocalClient:
    data = attack.poison(client.data, seeds.child("attack", attack.name, "poison", client.client))
    return LocalClient(client.client, client.model, data, client.training, client.seeds)


class Infiltrated:
    """An exchange in which some clients send what the attacker crafts instead of what they learned.

    The attackers first train as told; the attack then gets exactly the view that its threat model grants.

    Args:
        inner: any exchange.
        attack: crafts updates.
        hostile: the clients that the attacker holds.
        model: to read and write messages.
        seeds: for the attack's own choices.
    """

    def __init__(
        self, inner: Exchange, attack: UpdateAttack, hostile: Collection[ClientId], model: Model, seeds: Seeds
    ) -> None:
        self._inner = inner
        self._attack = attack
        self._hostile = frozenset(hostile)
        self._model = model
        self._seeds = seeds

    def members(self) -> tuple[ClientId, ...]:
        """Everyone, attackers included."""
        return self._inner.members()

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Reply | Failure]:
        """What the inner exchange gives, with the attackers' replies replaced."""
        replies = dict(self._inner.exchange(stage, payloads, deadline_s))
        deltas = {client: self._delta(reply) for client, reply in replies.items() if isinstance(reply, Reply)}
        own = sorted(self._hostile & set(deltas))
        if not own:
            return replies
        schema = self._model.schema
        broadcast = Broadcast.decode(payloads[own[0]], schema)
        others = [delta for client, delta in sorted(deltas.items()) if client not in self._hostile]
        view = AttackerView(
            self._attack.threat,
            broadcast.round,
            broadcast.params,
            np.stack([deltas[client] for client in own]),
            np.stack(others) if others else np.zeros((0, schema.d), dtype=np.float32),
        )
        crafted = self._attack.craft(view, self._seeds.child("attack", self._attack.name, "craft", broadcast.round))
        for client, delta in zip(own, crafted, strict=True):
            body = encode_update(client, broadcast, delta, self._examples(replies[client]), schema)
            replies[client] = Reply(client, body)
        return replies

    def _delta(self, reply: Reply) -> F32:
        try:
            _, body = open_frame(reply.body, "update", max_body_bytes=self._model.schema.encoded_bytes)
            return self._model.schema.decode(body)
        except MalformedUpdate:
            return np.zeros(self._model.schema.d, dtype=np.float32)

    def _examples(self, reply: Reply | Failure) -> int:
        assert isinstance(reply, Reply)  # noqa: S101 - only replies were decoded
        try:
            header, _ = open_frame(reply.body, "update", max_body_bytes=self._model.schema.encoded_bytes)
        except MalformedUpdate:
            return 1
        return header.num_examples

    def close(self) -> None:
        """Close the inner exchange."""
        self._inner.close()
