"""The seams of Ringfort: what a rule, a model, a client's home and an attack must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ringfort.core.checks import at_least, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import Schema
from ringfort.core.values import F32, I64, Aggregate, ClientId, Refusal

__all__ = ["ExampleGradients", "Exchange", "Failure", "LocalTraining", "Model", "Outcome", "Reply", "Rule"]

View = TypeVar("View", contravariant=True)


@runtime_checkable
class Rule(Protocol[View]):
    """Makes one step for the global model from a cohort. `View` is what it must see: Rows, GramView or Total.

    A rule is a frozen dataclass whose only state is its own parameters; `ringfort.testing.check_rule` checks the rest.
    """

    @property
    def name(self) -> str:
        """What recipes and reports call it; in most rules a class variable."""
        ...

    def bears(self, n: int) -> int:
        """How many hostile clients among `n` it can stand. 0: none; the rule is then no wall."""
        ...

    def __call__(self, view: View, /) -> Aggregate:
        """The aggregate of the cohort in view. Raises ToleranceExceeded (RF301) if n is too small."""
        ...


@dataclass(frozen=True, slots=True)
class LocalTraining:
    """What a client does between broadcast and update: `steps` minibatches of SGD with momentum.

    Args:
        steps: minibatches per round, >= 1. Equal for all clients, whatever they hold.
        batch: examples per minibatch, >= 1. Rows are drawn without replacement, epoch after epoch.
        learning_rate: > 0.
        momentum: in [0, 1), starting from zero each round.
        weight_decay: >= 0, added to the gradient.
    """

    steps: int
    batch: int
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        whole(1, steps=self.steps, batch=self.batch)
        positive(learning_rate=self.learning_rate)
        at_least(0, momentum=self.momentum, weight_decay=self.weight_decay)
        if self.momentum >= 1:
            raise InvalidValue(f"momentum must be below 1, got {self.momentum}")


class Model(Protocol):
    """A model family as a function of a flat parameter vector, so that the rest of Ringfort needs no framework."""

    @property
    def schema(self) -> Schema:
        """Names and shapes of the tensors; the flat vector has them in this order."""
        ...

    def initial(self, seeds: Seeds) -> F32:
        """Fresh parameters, (d,) float32, the same for equal seeds."""
        ...

    def train(self, params: F32, data: Dataset, plan: LocalTraining, rng: np.random.Generator) -> F32:
        """Train on `data` from `params`; return delta = local - global, (d,) float32. Never writes to `params`."""
        ...

    def logits(self, params: F32, inputs: NDArray[Any]) -> F32:
        """(N, classes) float32 scores for float32 inputs (N, ...)."""
        ...


@runtime_checkable
class ExampleGradients(Protocol):
    """What example-level differential privacy needs of a model: what each example of a batch pulls at."""

    def example_gradients(self, params: F32, inputs: NDArray[Any], labels: I64) -> F32:
        """(N, d) float32: the gradient of every example's own cross-entropy, in the schema's order.

        Args:
            params: (d,) where.
            inputs: (N, ...) float32; N may be 0.
            labels: (N,).

        No row may depend on another example.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one client: bytes that nobody has looked at yet, or a view of them."""

    client: ClientId
    body: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """A client that answered with an error of its own: the error in one line, and its traceback for the record.

    Both are the client's words. What no line or file may hold (line feeds and control characters in the error, halves
    of surrogate pairs in either) is taken out here, and the error is cut at 500 characters.
    """

    client: ClientId
    error: str
    traceback: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        printable = "".join(c if c.isprintable() else " " for c in self.error[:2_000])
        object.__setattr__(self, "error", " ".join(printable.split())[:500].rstrip())
        object.__setattr__(self, "traceback", self.traceback.encode(errors="replace").decode())


Outcome = Reply | Failure | Refusal
"""What becomes of one client at one stage. A Refusal: the transport itself had to turn its message away, as it is not
signed by whom it is said to be from, or by nobody who may speak. A client without an outcome is absent."""


class Exchange(Protocol):
    """Where clients live. The only step of a round with time, sockets, threads or processes in it."""

    def members(self) -> tuple[ClientId, ...]:
        """Everyone who can be asked now."""
        ...

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """Send each client its payload and collect what comes back within `deadline_s` seconds.

        Partial results are normal: a client that did not answer in time has no key in the result. Nothing that a
        client sends makes it raise.
        """
        ...

    def close(self) -> None:
        """Give back processes and connections. Idempotent."""
        ...
