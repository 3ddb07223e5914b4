"""One client of a federation: it reads a broadcast, trains beside its data, and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringfort.client.guards import Guard
from ringfort.client.private import Privacy
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue, TooManySuspicious, TransportError
from ringfort.core.ports import LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import I64, ClientId, client_id
from ringfort.core.wire import Broadcast, encode_update

__all__ = ["LocalClient", "client_names", "local_clients"]


@dataclass(frozen=True, eq=False)
class LocalClient:
    """Runs the client's half of a round: verify broadcast -> train -> reply.

    Args:
        client: its name.
        model: shared by all clients of a process; nothing of one client stays in it.
        data: what only this client sees.
        training: the local steps.
        seeds: the simulation's root; the client draws from its own branch.
        privacy: how it trains, or what it does to its update before it leaves; it then claims one example. None sends
            it as it is.
        guard: what it does to a broadcast model before it trains it; None trains whatever comes.
        stopped: why its data await a person (`client.sanitise`); it then trains nothing. None trains.

    Does not protect: without `privacy` the update leaves in the clear. Whoever reads it can learn about the data
        (membership inference, reconstruction); a seal is a layer of its own.
    """

    client: ClientId
    model: Model
    data: Dataset = field(repr=False)
    training: LocalTraining
    seeds: Seeds
    privacy: Privacy | None = None
    guard: Guard | None = None
    stopped: str | None = None

    def handle(self, stage: str, payload: bytes) -> bytes:
        """Answer one message of the server.

        Raises:
            TransportError (RF602): a stage this client does not know.
            MalformedUpdate (RF201): the broadcast is damaged or of another model.
            Inconsistent (RF505): the client's guard does not train this model.
            TooManySuspicious (RF704): its data await a person.
        """
        if self.stopped is not None:
            raise TooManySuspicious(self.stopped)
        if stage != "train":
            raise TransportError(f"{self.client} cannot answer stage {stage!r}")
        broadcast = Broadcast.decode(payload, self.model.schema)
        if self.guard is not None:
            rng = self.seeds.child("guard", broadcast.round, self.client)
            self.guard.check(self.model, broadcast.params, self.data, rng)
        rng = self.seeds.child("train", broadcast.round, self.client)
        if self.privacy is None:
            delta = self.model.train(broadcast.params, self.data, self.training, rng)
        else:
            delta = self.privacy.update(self.client, broadcast, self.model, self.data, self.training, rng)
        examples = len(self.data) if self.privacy is None else 1  # how many there are is a secret too
        return encode_update(self.client, broadcast, delta, examples, self.model.schema)


def client_names(count: int) -> tuple[ClientId, ...]:
    """client-00, client-01, ... as wide as needed, so that the order of names is the order of numbers.

    Raises:
        InvalidValue (RF104): none.
    """
    if count < 1:
        raise InvalidValue("a federation needs at least one client")
    width = max(2, len(str(count - 1)))
    return tuple(client_id(f"client-{i:0{width}}") for i in range(count))


def local_clients(
    data: Dataset,
    parts: Sequence[I64],
    model: Model,
    training: LocalTraining,
    seeds: Seeds,
    privacy: Privacy | None = None,
    guard: Guard | None = None,
    names: Sequence[ClientId] = (),
) -> tuple[LocalClient, ...]:
    """One honest client per part: each gets a copy of its rows of `data` and a name, by default of `client_names`."""
    return tuple(
        LocalClient(name, model, data.take(rows), training, seeds, privacy, guard)
        for name, rows in zip(names or client_names(len(parts)), parts, strict=True)
    )
