"""What a model does with data: predictions, accuracy, recall."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.attacks.threat import Attack, Predict, Score
from ringfort.core.dataset import Dataset
from ringfort.core.ports import Model
from ringfort.core.values import F32, I64

__all__ = ["evaluator", "predictor", "recall", "scorer", "worst_client"]

_CHUNK = 2_000
_OWN_ROWS = 500
"""Rows of a client that are looked at, spread over all it has: enough to tell a client that is left behind."""


def scorer(model: Model, params: F32, like: Dataset) -> Score:
    """Inputs as stored in `like` -> the model's scores (N, classes)."""

    def score(inputs: NDArray[Any]) -> F32:
        data = like.with_rows(inputs, np.zeros(len(inputs), dtype=np.int64))
        starts = range(0, max(1, len(inputs)), _CHUNK)
        return np.concatenate([model.logits(params, data.floats(slice(at, at + _CHUNK))) for at in starts])

    return score


def predictor(model: Model, params: F32, like: Dataset) -> Predict:
    """Inputs as stored in `like` -> predicted labels."""
    score = scorer(model, params, like)

    def predict(inputs: NDArray[Any]) -> I64:
        if not len(inputs):
            return np.zeros(0, dtype=np.int64)
        labels: I64 = score(inputs).argmax(axis=1).astype(np.int64, copy=False)
        return labels

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


def worst_client(predict: Predict, train: Dataset, parts: Iterable[I64]) -> float | None:
    """The smallest accuracy over clients, each on up to 500 of the rows it trains on; None without clients."""
    seen = [part[np.linspace(0, len(part) - 1, min(len(part), _OWN_ROWS)).astype(np.int64)] for part in parts]
    rates = [float(np.mean(predict(train.inputs[rows]) == train.labels[rows])) for rows in seen if len(rows)]
    return min(rates, default=None)
