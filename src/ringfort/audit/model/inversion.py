"""Neural Cleanse: for every class, the smallest change that turns all other inputs into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ringfort.audit.model.gradients import Differentiable, cross_entropy_errors
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue
from ringfort.core.values import F32, F64, I64

__all__ = ["FEWEST_CLASSES", "NeuralCleanse", "Trigger", "anomaly_indices", "shares_of_median"]

FEWEST_CLASSES: Final = 4
"""With fewer classes a median of mask sizes says nothing about one of them."""

_FIRST_MASK = 0.1
_ADAM = (0.9, 0.999, 1e-8)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A change of inputs that makes a model answer `target`: x becomes (1 - mask) x + mask pattern.

    Args:
        target: the class.
        mask: in [0, 1], (1, H, W) for images (all channels alike), else the shape of one input.
        pattern: the shape of one input.
        reached: whether the search ever saw it succeed as often as it was told to.
    """

    target: int
    mask: F32 = field(repr=False)
    pattern: F32 = field(repr=False)
    reached: bool

    @property
    def size(self) -> float:
        """The mask's L1 norm: pixels, or input numbers, that it replaces."""
        return float(self.mask.sum(dtype=np.float64))

    def stamp(self, inputs: F32) -> F32:
        """A stamped copy of float32 inputs (N, ...)."""
        return inputs + self.mask * (self.pattern - inputs)


@dataclass(frozen=True, slots=True)
class NeuralCleanse:
    """Masks and patterns by Adam, all classes in one batch; the mask's weight follows the trigger's success.

    Args:
        steps: of Adam, at most; a class whose mask has stopped shrinking leaves the batch earlier.
        batch: inputs per class and step, drawn anew from those that are not of the class.
        success: share of a batch that must turn, in (0, 1].
        rate: Adam's step size, > 0.
        weight: of the mask's L1 norm at the start, > 0.
        patience: steps above (below) `success` before the weight grows by 1.5 (falls by 1.84).
        still: steps without a mask 1 % smaller after which a class is done.

    Does not find: semantic and edge-case triggers (natural inputs), triggers that work for one source class only,
        triggers that depend on the input; and it is weak where the trigger covers the whole input, as a blend does.

    Cost: at most steps * classes * batch forward and backward passes.

    Source: Wang et al. 2019, IEEE S&P, "Neural Cleanse", Sections III and IV. Own implementation.
    """

    steps: int = 150
    batch: int = 32
    success: float = 0.95
    rate: float = 0.3
    weight: float = 1e-2
    patience: int = 5
    still: int = 75

    def __post_init__(self) -> None:
        whole(1, steps=self.steps, batch=self.batch, patience=self.patience, still=self.still)
        positive(rate=self.rate, weight=self.weight, success=self.success)
        fraction(success=self.success)

    def triggers(
        self,
        model: Differentiable,
        clean: Dataset,
        rng: np.random.Generator,
        targets: Sequence[int] | None = None,
    ) -> tuple[Trigger, ...]:
        """One trigger per class of `clean`, in label order, or only for the `targets`, in theirs.

        Raises:
            InvalidValue (RF104): for some class there is no input of another class.
        """
        wanted = np.arange(len(clean.classes)) if targets is None else np.asarray(targets, dtype=np.int64)
        pools = [np.flatnonzero(clean.labels != target) for target in wanted]
        if not all(map(len, pools)):
            raise InvalidValue("the search needs inputs of at least two classes")
        search = _Search(self, clean.floats(), wanted, pools, rng)
        for _ in range(self.steps):
            if not len(search.active):
                break
            search.step(model)
        return search.found()


class _Search:
    """The state of one search: logits of masks and patterns, Adam's moments, weights of the masks, the best so far."""

    def __init__(
        self, how: NeuralCleanse, inputs: F32, targets: I64, pools: list[I64], rng: np.random.Generator
    ) -> None:
        self.how, self.inputs, self.targets, self.pools, self.rng = how, inputs, targets, pools, rng
        shape, classes = inputs.shape[1:], len(pools)
        self.image = len(shape) == 3
        low = np.full(shape, inputs.min()) if self.image else inputs.min(axis=0)
        high = np.full(shape, inputs.max()) if self.image else inputs.max(axis=0)
        self.low, self.span = low.astype(np.float32), (high - low).astype(np.float32)
        mask_shape = (1, *shape[1:]) if self.image else shape
        self.mask = np.full((classes, *mask_shape), _logit(_FIRST_MASK), dtype=np.float32)
        self.pattern = rng.normal(0, 0.1, (classes, *shape)).astype(np.float32)
        self.moments = [np.zeros_like(part) for part in (self.mask, self.mask, self.pattern, self.pattern)]
        self.weight = np.full(classes, how.weight)
        self.streak = np.zeros(classes, dtype=np.int64)  # steps in a row: above success if positive
        self.least = np.full(classes, np.inf)
        self.improved = np.zeros(classes, dtype=np.int64)
        patterns = self.low + self.span * _sigmoid(self.pattern)
        self.best = list(zip(_sigmoid(self.mask), patterns, strict=True))
        self.active = np.arange(classes)
        self.time = 0

    def step(self, model: Differentiable) -> None:
        self.time += 1
        on, batch = self.active, self.how.batch
        rows = np.stack([self.pools[c][self.rng.integers(len(self.pools[c]), size=batch)] for c in on])
        mask, squashed = _sigmoid(self.mask[on])[:, None], _sigmoid(self.pattern[on])
        pattern = (self.low + self.span * squashed)[:, None]
        x = self.inputs[rows]
        away = pattern - x
        stamped = x + mask * away
        targets = np.repeat(self.targets[on], batch)
        scores, pulled = model.pull(stamped.reshape(-1, *x.shape[2:]), cross_entropy_errors(targets))
        pulled = pulled.reshape(x.shape) / np.float32(batch)
        hits = (scores.argmax(axis=1) == targets).reshape(len(on), batch).mean(axis=1)
        self._keep(on, hits, mask[:, 0], pattern[:, 0])
        by_mask = np.einsum("kb...,kb...->k...", pulled, away)
        if self.image:
            by_mask = by_mask.sum(axis=1, keepdims=True)
        by_mask += self.weight[on].astype(np.float32).reshape(-1, *[1] * (by_mask.ndim - 1))
        by_mask *= mask[:, 0] * (1 - mask[:, 0])
        by_pattern = pulled.sum(axis=1) * mask[:, 0] * self.span * squashed * (1 - squashed)
        self._adam(self.mask, by_mask, on, self.moments[0], self.moments[1])
        self._adam(self.pattern, by_pattern, on, self.moments[2], self.moments[3])
        self._reweigh(on, hits)
        self.active = on[(self.time - self.improved[on] < self.how.still) | ~np.isfinite(self.least[on])]

    def _keep(self, on: I64, hits: F64, masks: F32, patterns: F32) -> None:
        sizes = masks.sum(axis=tuple(range(1, masks.ndim)), dtype=np.float64)
        for place, c in enumerate(on):
            if hits[place] >= self.how.success and sizes[place] < self.least[c]:
                if sizes[place] < 0.99 * self.least[c]:
                    self.improved[c] = self.time
                self.least[c] = sizes[place]
                self.best[c] = masks[place].copy(), patterns[place].copy()

    def _reweigh(self, on: I64, hits: F64) -> None:
        good = hits >= self.how.success
        streak = self.streak[on]
        streak = np.where(good, np.maximum(streak, 0) + 1, np.minimum(streak, 0) - 1)
        turn = np.abs(streak) >= self.how.patience
        self.weight[on] *= np.where(turn, np.where(good, 1.5, 1 / 1.84), 1.0)
        self.streak[on] = np.where(turn, 0, streak)

    def _adam(self, values: F32, gradient: F32, on: I64, first: F32, second: F32) -> None:
        decay, square, tiny = _ADAM
        first[on] = decay * first[on] + (1 - decay) * gradient
        second[on] = square * second[on] + (1 - square) * gradient**2
        rate = self.how.rate * np.sqrt(1 - square**self.time) / (1 - decay**self.time)
        values[on] -= np.float32(rate) * first[on] / (np.sqrt(second[on]) + np.float32(tiny))

    def found(self) -> tuple[Trigger, ...]:
        return tuple(
            Trigger(int(target), mask.astype(np.float32), pattern.astype(np.float32), bool(np.isfinite(least)))
            for target, least, (mask, pattern) in zip(self.targets, self.least, self.best, strict=True)
        )


def anomaly_indices(sizes: F64) -> F64:
    """(size - median) / (1.4826 * median absolute deviation), per class: far below zero is suspicious.

    Zero everywhere if more than half of the sizes are equal.

    >>> anomaly_indices(np.array([1.0, 9.0, 10.0, 11.0, 12.0])).round(2).tolist()
    [-6.07, -0.67, 0.0, 0.67, 1.35]
    """
    away = sizes - np.median(sizes)
    spread = 1.4826 * np.median(np.abs(away))
    return away / spread if spread > 0 else np.zeros_like(away)


def shares_of_median(sizes: F64) -> F64:
    """Each size over the median of all.

    >>> shares_of_median(np.array([5.0, 20.0, 20.0, 25.0])).tolist()
    [0.25, 1.0, 1.0, 1.25]
    """
    shares: F64 = sizes / max(float(np.median(sizes)), 1e-9)
    return shares


def _sigmoid(values: F32) -> F32:
    out: F32 = np.reciprocal(1 + np.exp(-values))
    return out


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
