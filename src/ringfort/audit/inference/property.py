"""Property inference: does a client's data have a property, whatever the labels say?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ringfort.audit.inference.metrics import Rates, rates
from ringfort.audit.inference.observe import Protection, protected_update
from ringfort.audit.inference.threat import InferenceThreat, Server, View
from ringfort.core.checks import positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.ports import LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, F64

__all__ = ["Property", "PropertyAttack", "PropertyFinding"]


@dataclass(frozen=True)
class Property:
    """Something that a client's data may have and that its label counts do not give away.

    Args:
        name: in words.
        draw: makes one client's data with the property (True) or without (False) from a pool.
    """

    name: str
    draw: Callable[[Dataset, bool, np.random.Generator], Dataset] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PropertyFinding:
    """What the attack reaches, beside a baseline that reads label counts only.

    Args:
        rates: of the attack.
        baseline: of the baseline.
        rounds: over how many rounds the evidence was added up.
        shadows: how many shadow clients were trained per round.
    """

    rates: Rates
    baseline: Rates
    rounds: int
    shadows: int


@dataclass(frozen=True, slots=True)
class PropertyAttack:
    """Trains shadow clients on public data from the same broadcast model, learns the property from their updates.

    A ridge regression in its dual form, so that only inner products of updates are needed, on updates of length one.
    Over several rounds the scores, as log-odds, are added up.

    Args:
        shadows: clients to simulate, >= 8, half of them with the property.
        ridge: regularisation relative to the mean squared length of the centred updates, > 0.

    Threat: passive; reads raw updates; has public data like the clients'; knows the training's settings.

    Does not show: anything about a property of one record. Differential privacy for records or clients does not promise
        to hide what many records of a client have in common.

    Source: Melis et al. 2019, IEEE S&P, Section V; dual ridge instead of a random forest.
    """

    shadows: int
    ridge: float = 0.1
    threat: ClassVar[InferenceThreat] = InferenceThreat(
        "Tell whether a client's data has a property.",
        View.RAW_UPDATES,
        Server.PASSIVE,
        "public data, the model of every round and the training's settings",
    )

    def __post_init__(self) -> None:
        whole(8, shadows=self.shadows)
        positive(ridge=self.ridge)

    def run(
        self,
        model: Model,
        wanted: Property,
        pools: tuple[Dataset, Dataset],
        training: LocalTraining,
        broadcasts: tuple[F32, ...],
        targets: int,
        seeds: Seeds,
        protection: Protection | None = None,
    ) -> PropertyFinding:
        """Attack `targets` clients, half of them with the property.

        Args:
            model: the family.
            wanted: the property.
            pools: what shadows are drawn from (public), and what targets are drawn from (private).
            training: everyone's local steps.
            broadcasts: the models of the rounds to add up.
            targets: how many clients to attack.
            seeds: for all draws.
            protection: what clients do to their updates; shadows do likewise.
        """
        labels, clients = _clients(wanted, pools[0], self.shadows, seeds.under("shadows"))
        truth, victims = _clients(wanted, pools[1], targets, seeds.under("targets"))
        evidence = np.zeros(targets)
        for number, params in enumerate(broadcasts):
            here = seeds.under("round", number)
            known = _updates(model, params, clients, training, here.under("shadows"), protection)
            unknown = _updates(model, params, victims, training, here.under("targets"), protection)
            evidence += _log_odds(known, labels, unknown, self.ridge)
        counted = _log_odds(_counts(clients), labels, _counts(victims), self.ridge)
        return PropertyFinding(
            rates(evidence[truth], evidence[~truth]),
            rates(counted[truth], counted[~truth]),
            len(broadcasts),
            self.shadows,
        )


def _clients(
    wanted: Property, pool: Dataset, count: int, seeds: Seeds
) -> tuple[NDArray[np.bool_], tuple[Dataset, ...]]:
    labels = np.arange(count) % 2 == 0
    return labels, tuple(wanted.draw(pool, bool(label), seeds.child("data", i)) for i, label in enumerate(labels))


def _updates(
    model: Model,
    params: F32,
    clients: tuple[Dataset, ...],
    training: LocalTraining,
    seeds: Seeds,
    protection: Protection | None,
) -> F32:
    rows = np.empty((len(clients), len(params)), dtype=np.float32)
    for i, data in enumerate(clients):
        rngs = seeds.child("train", i), seeds.child("noise", i)
        rows[i] = protected_update(model, params, data, training, protection, *rngs)
    return rows


def _counts(clients: tuple[Dataset, ...]) -> F32:
    return np.stack([np.bincount(data.labels, minlength=len(data.classes)) for data in clients]).astype(np.float32)


def _log_odds(known: F32, labels: NDArray[np.bool_], unknown: F32, ridge: float) -> F64:
    """Dual ridge scores of the unknown rows, scaled by how well they tell the known ones apart (leave-one-out)."""
    known = known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-20)
    unknown = unknown / np.maximum(np.linalg.norm(unknown, axis=1, keepdims=True), 1e-20)
    centre = known.mean(axis=0)
    known, unknown = known - centre, unknown - centre
    gram = (known @ known.T).astype(np.float64)
    signs = np.where(labels, 1.0, -1.0)
    inverse = np.linalg.inv(gram + ridge * max(float(np.diagonal(gram).mean()), 1e-20) * np.eye(len(gram)))
    alphas = inverse @ signs
    left_out = signs - alphas / np.diagonal(inverse)
    scores: F64 = (unknown @ known.T).astype(np.float64) @ alphas
    gap = float(left_out[labels].mean() - left_out[~labels].mean())
    spread = float(left_out[labels].var() + left_out[~labels].var()) / 2
    return scores * max(gap, 0.0) / max(spread, 1e-12)
