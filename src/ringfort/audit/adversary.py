"""Puts attackers into a federation: an Exchange in which some of the clients are not what they seem."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from ringfort.attacks.threat import (
    Attack,
    AttackerView,
    DataAttack,
    DividedAttack,
    Knowledge,
    Memory,
    Oracle,
    RoundDataAttack,
    UpdateAttack,
)
from ringfort.audit.measure import scorer
from ringfort.client.node import LocalClient
from ringfort.core.context import RoundContext, wants
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue, MalformedUpdate
from ringfort.core.ports import Exchange, Model, Outcome, Reply
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, ClientId
from ringfort.core.views import Rows
from ringfort.core.wire import Broadcast, encode_update, open_frame
from ringfort.engine.in_process import InProcess, Node
from ringfort.rounds.fuse import Defence, fuse
from ringfort.rounds.gate import Gate, norm

__all__ = ["Infiltrated", "Lab", "LiveDefence", "Turncoat", "infiltrate"]


def infiltrate(
    clients: Collection[LocalClient],
    attack: Attack | None,
    hostile: Collection[ClientId],
    seeds: Seeds,
    workers: int = 1,
    live: LiveDefence | None = None,
    sanitise: Callable[[LocalClient], LocalClient] | None = None,
    owners_are_honest: bool = False,
) -> Exchange:
    """The clients on the in-process engine, with `hostile` ones under the attack's control.

    A data attack poisons what the hostile clients hold, before they train, once or in every round. An update attack
    replaces what they send; one that is granted its clients' data may train these clients in its own way. Nobody else
    notices: the messages pass the same gate. `live` answers attacks that are granted the defence. `sanitise` is what
    owners do to their data before they train; hostile ones leave it out. With `owners_are_honest` a data attack is an
    infection that its victims do not know of: they sanitise what it left.

    Raises:
        InvalidValue (RF104): a hostile client that does not exist.
    """
    known = {client.client: client for client in clients}
    strangers = sorted(set(hostile) - set(known))
    if strangers:
        raise InvalidValue(f"hostile clients that do not exist: {', '.join(strangers)}")
    lab = Lab({name: known[name] for name in sorted(hostile)}, seeds)
    if isinstance(attack, DataAttack):
        known |= {name: replace(known[name], data=lab.poisoned(name, attack)) for name in hostile}
    if sanitise is not None:
        cleaning = [name for name in known if owners_are_honest or name not in hostile]
        known |= {name: sanitise(known[name]) for name in cleaning}
    turned: dict[ClientId, Node] = dict(known)
    if isinstance(attack, RoundDataAttack):
        turned |= {name: Turncoat(known[name], attack, seeds) for name in hostile}
    exchange: Exchange = InProcess(list(turned.values()), workers)
    if isinstance(attack, UpdateAttack):
        model = next(iter(known.values())).model
        exchange = Infiltrated(exchange, attack, hostile, model, seeds, live, lab)
    return exchange


@dataclass(frozen=True)
class Lab:
    """Where attackers poison the data of their own clients and train them as they like.

    Args:
        clients: theirs, in the order of names, with the data that they really hold.
        seeds: for the attack's own choices.
    """

    clients: Mapping[ClientId, LocalClient]
    seeds: Seeds
    _kept: dict[tuple[ClientId, str], Dataset] = field(default_factory=dict, repr=False)

    def poisoned(self, name: ClientId, attack: DataAttack) -> Dataset:
        """The client's data under an attack that poisons once: the same in every round."""
        if (name, attack.name) not in self._kept:
            data, rng = self.clients[name].data, self.seeds.child("attack", attack.name, "poison", name)
            if isinstance(attack, DividedAttack):
                made = attack.poison_as(list(self.clients).index(name), data, rng)
            else:
                made = attack.poison(data, rng)
            self._kept[name, attack.name] = made
        return self._kept[name, attack.name]


class _Bench:
    """One of the attackers' own clients in one round: `ringfort.attacks.OwnClient`."""

    def __init__(self, lab: Lab, name: ClientId, broadcast: Broadcast) -> None:
        self._lab, self._client, self._broadcast = lab, lab.clients[name], broadcast
        self._stretches = 0

    @property
    def steps(self) -> int:
        return self._client.training.steps

    def poisoned(self, attack: Attack, /) -> Dataset:
        if isinstance(attack, DataAttack):
            return self._lab.poisoned(self._client.client, attack)
        if isinstance(attack, RoundDataAttack):
            return _poisoned_now(self._client, attack, self._broadcast, self._lab.seeds)
        return self._client.data

    def train(self, data: Dataset, start: F32 | None = None, steps: int | None = None) -> F32:
        path: tuple[str | int, ...] = ("train", self._broadcast.round, self._client.client)
        if start is not None or steps is not None:
            self._stretches += 1
            path = (*path, self._stretches)
        plan = self._client.training if steps is None else replace(self._client.training, steps=steps)
        params = self._broadcast.params if start is None else self._broadcast.params + start
        moved = self._client.model.train(params, data, plan, self._client.seeds.child(*path))
        return moved if start is None else start + moved


def _poisoned_now(client: LocalClient, attack: RoundDataAttack, broadcast: Broadcast, seeds: Seeds) -> Dataset:
    rng = seeds.child("attack", attack.name, "poison", client.client, broadcast.round)
    return attack.poison_round(client.data, scorer(client.model, broadcast.params, client.data), rng)


@dataclass(frozen=True)
class Turncoat:
    """A client that poisons its data anew in every round, once it has seen the model, and then trains as told.

    Args:
        inner: the client that it was.
        attack: poisons.
        seeds: for the attack's own choices.
    """

    inner: LocalClient
    attack: RoundDataAttack
    seeds: Seeds

    @property
    def client(self) -> ClientId:
        """Its name."""
        return self.inner.client

    def handle(self, stage: str, payload: bytes) -> bytes:
        """Answer one message of the server as the client would, on poisoned data."""
        broadcast = Broadcast.decode(payload, self.inner.model.schema)
        poisoned = _poisoned_now(self.inner, self.attack, broadcast, self.seeds)
        return replace(self.inner, data=poisoned).handle(stage, payload)


@dataclass(frozen=True)
class LiveDefence:
    """The defence as an attacker that is granted it may try it out: gate's norm cap, rule, and what the rule draws.

    Args:
        defence: the walls of the federation under attack.
        gate: its door.
        seeds: the federation's root: whatever the defence draws, the attacker foresees.
        reference: what the server itself learns from a broadcast, where the rule compares with it.

    What the defence remembers of earlier rounds is not granted: it starts empty in every round. So the watch, which
    rules by what it remembers, is left out.
    """

    defence: Defence
    gate: Gate
    seeds: Seeds
    reference: Callable[[Broadcast], F32] | None = None

    def oracle(self, clients: Sequence[ClientId], to: Broadcast, last_step: F32 | None) -> Oracle:
        """Answers what step the defence would make of these clients' rows, as answers to the broadcast `to`."""
        wanted = "reference" in wants(self.defence.rule)
        trusted = self.reference(to) if wanted and self.reference is not None else None
        context = RoundContext(to.round, self.seeds.under("fuse", to.round), last_step, trusted)
        order = np.argsort(np.array(clients))
        unwatched = replace(self.defence, watch=None)

        def ask(rows: F32) -> F32:
            short = [i for i in order if norm(rows[i]) <= self.gate.max_norm]
            view = Rows(tuple(clients[i] for i in short), rows[short])
            return fuse(view, unwatched, context).aggregate.delta

        return ask


class Infiltrated:
    """An exchange in which some clients send what the attacker crafts instead of what they learned.

    The attackers first train as told; the attack then gets exactly the view that its threat model grants.

    Args:
        inner: any exchange.
        attack: crafts updates.
        hostile: the clients that the attacker holds.
        model: to read and write messages.
        seeds: for the attack's own choices.
        live: the defence, for attacks that are granted it.
        lab: the hostile clients themselves, for attacks that are granted their data.
    """

    def __init__(
        self,
        inner: Exchange,
        attack: UpdateAttack,
        hostile: Collection[ClientId],
        model: Model,
        seeds: Seeds,
        live: LiveDefence | None = None,
        lab: Lab | None = None,
    ) -> None:
        self._inner = inner
        self._attack = attack
        self._hostile = frozenset(hostile)
        self._model = model
        self._seeds = seeds
        self._live = live
        self._lab = lab
        self._memory: Memory = {}
        self._broadcasts: dict[int, F32] = {}

    def members(self) -> tuple[ClientId, ...]:
        """Everyone, attackers included."""
        return self._inner.members()

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """What the inner exchange gives, with the attackers' replies replaced."""
        replies = dict(self._inner.exchange(stage, payloads, deadline_s))
        deltas = {client: self._delta(reply) for client, reply in replies.items() if isinstance(reply, Reply)}
        own = sorted(self._hostile & set(deltas))
        if not own or len(own) == len(deltas):  # with nobody honest there is nothing left to attack
            return replies
        schema = self._model.schema
        broadcast = Broadcast.decode(payloads[own[0]], schema)
        view = self._view(broadcast, deltas, own)
        rng = self._seeds.child("attack", self._attack.name, "craft", broadcast.round)
        with threadpool_limits(limits=1):  # as where clients train: the number of threads can change the last bits
            crafted = self._attack.craft(view, rng)
        for client, delta in zip(own, crafted, strict=True):
            body = encode_update(client, broadcast, delta, self._examples(replies[client]), schema)
            replies[client] = Reply(client, body)
        return replies

    def _view(self, broadcast: Broadcast, deltas: Mapping[ClientId, F32], own: Sequence[ClientId]) -> AttackerView:
        """The round as the attackers may see it."""
        others = sorted(set(deltas) - set(own))
        past = self._broadcasts.get(broadcast.round - 1)
        self._broadcasts = {broadcast.round: broadcast.params} | ({} if past is None else {broadcast.round - 1: past})
        oracle = None
        if self._live is not None and Knowledge.DEFENCE in self._attack.threat.knows:
            last_step = None if past is None else broadcast.params - past
            oracle = self._live.oracle((*others, *own), broadcast, last_step)
        return AttackerView(
            self._attack.threat,
            broadcast.round,
            broadcast.params,
            np.stack([deltas[client] for client in own]),
            np.stack([deltas[c] for c in others]) if others else np.zeros((0, self._model.schema.d), np.float32),
            past,
            oracle,
            self._memory,
            () if self._lab is None else tuple(_Bench(self._lab, client, broadcast) for client in own),
        )

    def _delta(self, reply: Reply) -> F32:
        try:
            _, body = open_frame(reply.body, "update", max_body_bytes=self._model.schema.encoded_bytes)
            return self._model.schema.decode(body)
        except MalformedUpdate:
            return np.zeros(self._model.schema.d, dtype=np.float32)

    def _examples(self, reply: Outcome) -> int:
        assert isinstance(reply, Reply)  # noqa: S101 - only replies were decoded
        try:
            header, _ = open_frame(reply.body, "update", max_body_bytes=self._model.schema.encoded_bytes)
        except MalformedUpdate:
            return 1
        return header.num_examples

    def close(self) -> None:
        """Close the inner exchange."""
        self._inner.close()
