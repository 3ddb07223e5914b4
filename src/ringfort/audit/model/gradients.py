"""What a model says about inputs, and how its answers move with them: all that the searches need to know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ringfort.client.perceptron import Perceptron
from ringfort.core.errors import Incompatible
from ringfort.core.ports import Model
from ringfort.core.values import F32, I64

__all__ = ["Differentiable", "DifferentiablePerceptron", "cross_entropy_errors", "differentiable"]

Errors = Callable[[F32], F32]
"""(N, classes) scores -> the loss's derivative by them, of the same shape."""


class Differentiable(Protocol):
    """One trained model as a function of its inputs."""

    def pull(self, inputs: F32, errors: Errors) -> tuple[F32, F32]:
        """Scores (N, classes) of inputs (N, ...), and the loss's derivative by the inputs, in their shape."""
        ...


@dataclass(frozen=True, slots=True)
class DifferentiablePerceptron:
    """Dense layers with ReLU, in closed form and plain NumPy.

    Args:
        layers: the perceptron.
        params: (d,) its parameters.
    """

    layers: Perceptron
    params: F32 = field(repr=False)

    def pull(self, inputs: F32, errors: Errors) -> tuple[F32, F32]:
        """Scores and input gradients: one forward and one backward pass."""
        seen = self.layers.activations(self.params, inputs)
        error = errors(seen[-1])
        for number in range(len(self.layers.layers) - 1, -1, -1):
            error = error @ self.layers.layers[number].weights(self.params).T
            if number:
                error *= seen[number] > 0
        error *= np.float32(self.layers.scale)
        return seen[-1], error.reshape(inputs.shape)


def differentiable(model: Model, params: F32) -> Differentiable:
    """The gradients of this model, in NumPy where it is a perceptron, else through torch.

    Raises:
        Incompatible (RF103): neither a perceptron nor a torch model.
    """
    try:
        return DifferentiablePerceptron(Perceptron.of(model), params)
    except Incompatible as error:
        try:
            from ringfort.audit.model.torch import of
        except ModuleNotFoundError:
            raise error from None
        return of(model, params)


def cross_entropy_errors(labels: I64) -> Errors:
    """The derivative of each row's own cross-entropy towards `labels`."""
    rows = np.arange(len(labels))

    def errors(scores: F32) -> F32:
        error: F32 = np.exp(scores - scores.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        error[rows, labels] -= 1
        return error

    return errors
