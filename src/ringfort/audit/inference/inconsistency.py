"""A server that sends different models to different clients, so that a seal's total is one client's update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ringfort.audit.inference.reconstruction import Imprint
from ringfort.audit.inference.threat import InferenceThreat, Server, View
from ringfort.client.perceptron import Perceptron
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.ports import Model
from ringfort.core.values import F32, F64, ClientId

__all__ = ["ModelInconsistency"]

_DEAD = -1e6
"""A bias below which no input of ordinary size lifts a neuron."""


@dataclass(frozen=True, slots=True)
class ModelInconsistency:
    """Everybody but one target gets a model whose first layer is dead; the sum's first layer is the target's alone.

    Dead neurons have no gradient, so the other clients' first layers stay where they are, to the bit. The target gets
    an imprint, and `guesses` reads its examples out of the total as if there were no seal. With another target each
    round, every client is read in as many rounds as there are clients.

    Args:
        imprint: what the target gets.

    Threat: malicious; broadcasts a model of its own to each client; reads the seal's total; has public data.

    Does not work where every client proves which model it trained: Ringfort's seals bind the model's digest into every
        message, so clients with different models never finish a round together. Nor against noise.

    Source: Pasquini, Francati and Ateniese 2022, ACM CCS (arXiv:2111.07380).
    """

    imprint: Imprint = field(default_factory=Imprint)
    threat: ClassVar[InferenceThreat] = InferenceThreat(
        "See the inputs that one client of a sealed cohort trained on.",
        View.TOTAL,
        Server.MALICIOUS,
        "public data like the clients'",
    )

    def broadcasts(
        self,
        model: Model,
        params: F32,
        public: Dataset,
        clients: Sequence[ClientId],
        target: ClientId,
        rng: np.random.Generator,
    ) -> Mapping[ClientId, F32]:
        """What to send to each client, (d,) float32.

        Args:
            model: the family.
            params: (d,) the honest model; the dead one is it with other biases.
            public: data like the clients'.
            clients: of the cohort.
            target: one of them.
            rng: for the imprint's last layer.

        Raises:
            Incompatible (RF103): the model is no perceptron with a hidden layer; no such target.
        """
        if target not in clients:
            raise Incompatible(f"{target} is not in the cohort")
        first = Perceptron.of(model).layers[0]
        dead = params.copy()
        first.biases(dead)[...] = _DEAD
        live = self.imprint.broadcast(model, public, rng)
        return {client: live if client == target else dead for client in clients}

    def guesses(self, model: Model, total: F32) -> F64:
        """(K, inputs) candidates for the target's examples, from the sum of all updates."""
        return self.imprint.guesses(model, total)
