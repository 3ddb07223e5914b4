"""Mixings and a rule as one rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ringfort.aggregate.mixing import Mixing
from ringfort.core.errors import InvalidValue
from ringfort.core.ports import Rule
from ringfort.core.values import Aggregate
from ringfort.core.views import GramView, mix

__all__ = ["Chain", "chain"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chain:
    """Mixings from left to right, then a rule; itself a rule. Made by `chain`.

    Args:
        stages: at least one.
        rule: what decides in the end.

    Call:
        view: what the rule needs. Returns the rule's Aggregate, its weights traced back to the clients.

    Guarantees:
        n and f are checked at every stage: it bears what its weakest part bears.

    Does not protect against: what its parts do not.

    Cost: its parts'; the Gram matrix is taken once and shared.

    Source: composition of robust pre-aggregation and rule as in Allouah et al. 2023, arXiv:2302.01772.

    >>> from ringfort.aggregate import NNM, TrimmedMean
    >>> chain(NNM(f=1), TrimmedMean(f=1)).name
    'nnm | trimmed-mean'
    """

    stages: tuple[Mixing, ...]
    rule: Rule[Any]

    def __post_init__(self) -> None:
        if not self.stages:
            raise InvalidValue("a chain needs at least one mixing before its rule")

    @property
    def parts(self) -> tuple[Any, ...]:
        """The mixings and the rule, as they run."""
        return (*self.stages, self.rule)

    @property
    def name(self) -> str:
        """The parts' names, joined as they run."""
        return " | ".join(part.name for part in self.parts)

    @property
    def exempt(self) -> frozenset[str]:
        """What `check_rule` may not ask of it: what any part is exempt from."""
        return frozenset().union(*(getattr(part, "exempt", frozenset()) for part in self.parts))

    @property
    def f(self) -> int:
        """The attackers its parts were told to bear: the largest f among them."""
        return max(getattr(part, "f", 0) for part in self.parts)

    def bearing(self, f: int) -> Chain:
        """The same chain with every part told to bear `f`."""
        return Chain(tuple(_bearing(stage, f) for stage in self.stages), _bearing(self.rule, f))

    def bears(self, n: int) -> int:
        """What its weakest part bears at this n."""
        bears: int = min(part.bears(n) for part in self.parts)
        return bears

    def __call__(self, view: GramView) -> Aggregate:
        """The rule's aggregate of the mixed cohort, with the weights of the clients."""
        mixed: Any = view
        traced = np.eye(len(view.clients))
        for stage in self.stages:
            matrix = stage.matrix(mixed)
            mixed, traced = mix(mixed, matrix, view.clients), matrix @ traced
        made = self.rule(mixed)
        shares = made.weights @ traced
        # Rows of length zero have no share to trace: nobody moved the model, everybody equally.
        weights = shares / shares.sum() if shares.any() else made.weights
        notes = {c: f"no weight under {self.name}" for c, w in zip(view.clients, weights, strict=True) if w == 0}
        return Aggregate(made.delta, view.clients, weights, self.name, notes)


def chain(*parts: Any) -> Chain:
    """Mixings, then a rule: `chain(ARC(f=4), NNM(f=4), TrimmedMean(f=4))` reads as it runs.

    Raises:
        InvalidValue (RF104): no mixing before the rule.
    """
    *stages, rule = parts
    return Chain(tuple(stages), rule)


def _bearing(part: T, f: int) -> T:
    return replace(part, f=f) if hasattr(part, "f") else part  # type: ignore[type-var]
