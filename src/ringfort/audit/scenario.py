"""A federation to be trained or attacked, as plain objects: what a recipe is turned into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.attacks.threat import Attack, Predict
from ringfort.audit.adversary import infiltrate
from ringfort.client.node import local_clients
from ringfort.core.dataset import Dataset
from ringfort.core.ports import LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, I64, ClientId
from ringfort.rounds.federation import Federation
from ringfort.rounds.fuse import Defence
from ringfort.rounds.gate import Gate
from ringfort.rounds.journal import Journal

__all__ = ["Scenario", "evaluator", "predictor", "recall"]

_CHUNK = 2_000


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A federation without its walls and attackers: the same one for every cell of a drill.

    Args:
        train: the data that is split over the clients.
        test: the server's hold-out, which only measures.
        split: makes one index array per client from the seeds.
        model: makes the model; called once per process.
        training: every client's local steps.
        gate: the door.
        rounds: per federation.
        cohort: clients asked per round; None asks everyone.
        deadline_s: per round; None waits.
        sample: test examples used after each round; the final model is always measured on all of them.
        workers: processes that share the work.
        recipe: digest of the resolved recipe.
    """

    train: Dataset = field(repr=False)
    test: Dataset = field(repr=False)
    split: Callable[[Dataset, Seeds], tuple[I64, ...]]
    model: Callable[[], Model] = field(repr=False)
    training: LocalTraining
    gate: Gate
    rounds: int
    cohort: int | None
    deadline_s: float | None
    sample: int
    workers: int
    recipe: str

    def parts(self, seeds: Seeds) -> tuple[I64, ...]:
        """The rows of each client."""
        return self.split(self.train, seeds.under("split"))

    def sampled(self, seeds: Seeds) -> Dataset:
        """The test examples that are measured after each round."""
        return self.test.take(np.sort(seeds.child("evaluation").permutation(len(self.test))[: self.sample]))

    def federation(
        self,
        seeds: Seeds,
        defence: Defence,
        *,
        attack: Attack | None = None,
        hostile: tuple[ClientId, ...] = (),
        workers: int = 1,
        journal: Journal | None = None,
    ) -> Federation:
        """A federation that is ready to run. Close its exchange afterwards."""
        model = self.model()
        clients = local_clients(self.train, self.parts(seeds), model, self.training, seeds)
        return Federation(
            exchange=infiltrate(clients, attack, hostile, seeds, workers),
            model=model,
            defence=defence,
            gate=self.gate,
            rounds=self.rounds,
            seeds=seeds,
            cohort=self.cohort,
            deadline_s=self.deadline_s,
            recipe=self.recipe,
            journal=journal,
            evaluate=evaluator(model, self.sampled(seeds), attack),
        )


def predictor(model: Model, params: F32, like: Dataset) -> Predict:
    """Inputs as stored in `like` -> predicted labels."""

    def predict(inputs: NDArray[Any]) -> I64:
        if not len(inputs):
            return np.zeros(0, dtype=np.int64)
        data = like.with_rows(inputs, np.zeros(len(inputs), dtype=np.int64))
        parts = [
            model.logits(params, data.floats(slice(start, start + _CHUNK))).argmax(axis=1)
            for start in range(0, len(inputs), _CHUNK)
        ]
        return np.concatenate(parts).astype(np.int64, copy=False)

    return predict


def evaluator(model: Model, test: Dataset, attack: Attack | None = None) -> Callable[[F32], dict[str, float]]:
    """Measures a model: `accuracy`, and `attack_success` if a targeted attack is given."""

    def evaluate(params: F32) -> dict[str, float]:
        predict = predictor(model, params, test)
        measured = {"accuracy": float(np.mean(predict(test.inputs) == test.labels))}
        success = None if attack is None else attack.success(predict, test)
        return measured if success is None else {**measured, "attack_success": success}

    return evaluate


def recall(predict: Predict, test: Dataset) -> tuple[float, ...]:
    """Per class, the share of its test examples that are recognised; 0 for a class without any."""
    right = predict(test.inputs) == test.labels
    seen = np.bincount(test.labels, minlength=len(test.classes))
    hits = np.bincount(test.labels[right], minlength=len(test.classes))
    return tuple(float(h / s) if s else 0.0 for h, s in zip(hits, seen, strict=True))
