"""Models in plain NumPy, so that a federation runs without a deep-learning framework."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.client.batches import minibatches
from ringfort.core.checks import whole
from ringfort.core.dataset import Dataset
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import Schema
from ringfort.core.values import F32, I64

__all__ = ["NumpyModel"]


@dataclass(frozen=True)
class NumpyModel:
    """Softmax regression, or a perceptron with ReLU layers, trained by backpropagation with SGD and momentum.

    Args:
        inputs: numbers per example, >= 1; images are flattened.
        classes: >= 2.
        hidden: widths of the hidden layers; () is softmax regression ("logistic").

    Guarantees:
        Equal parameters, data, plan and generator give equal bits on one machine.

    Limits: dense layers only. For anything else use a torch module through `ringfort.client.torch`.
    """

    inputs: int
    classes: int
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        whole(1, inputs=self.inputs)
        whole(2, classes=self.classes)
        for width in self.hidden:
            whole(1, hidden=width)

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        return (self.inputs, *self.hidden, self.classes)

    @cached_property
    def schema(self) -> Schema:
        """Per layer `layerNN.bias` (out,) and `layerNN.weight` (in, out)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (fan_in, fan_out) in enumerate(zip(self._widths, self._widths[1:], strict=False)):
            shapes[f"layer{i:02}.bias"] = (fan_out,)
            shapes[f"layer{i:02}.weight"] = (fan_in, fan_out)
        return Schema.of(shapes)

    def _layers(self, flat: F32) -> list[tuple[F32, F32]]:
        views = self.schema.views(flat)
        return [(views[f"layer{i:02}.weight"], views[f"layer{i:02}.bias"]) for i in range(len(self._widths) - 1)]

    def initial(self, seeds: Seeds) -> F32:
        """He-normal weights, zero biases; softmax regression starts from zero."""
        flat = np.zeros(self.schema.d, dtype=np.float32)
        if self.hidden:
            for i, (weight, _) in enumerate(self._layers(flat)):
                draw = seeds.child("layer", i).standard_normal(weight.shape, dtype=np.float32)
                weight[...] = draw * np.float32(math.sqrt(2 / len(weight)))
        return flat

    def train(self, params: F32, data: Dataset, plan: LocalTraining, rng: np.random.Generator) -> F32:
        """Local SGD; returns delta = local - params, (d,) float32."""
        flat = params.copy()
        gradient, velocity = np.empty_like(flat), np.zeros_like(flat)
        layers, gradients = self._layers(flat), self._layers(gradient)
        with np.errstate(over="ignore", invalid="ignore"):  # a loss that diverges gives NaN, which the gate refuses
            for rows in minibatches(len(data), plan, rng):
                self._backward(layers, gradients, data.floats(rows).reshape(len(rows), -1), data.labels[rows])
                if plan.weight_decay:
                    gradient += np.float32(plan.weight_decay) * flat
                velocity *= np.float32(plan.momentum)
                velocity += gradient
                flat -= np.float32(plan.learning_rate) * velocity
            flat -= params
        return flat

    def logits(self, params: F32, inputs: NDArray[Any]) -> F32:
        """(N, classes) float32 scores."""
        x = np.asarray(inputs, dtype=np.float32).reshape(len(inputs), self.inputs)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._forward(self._layers(params), x)[-1]

    def example_gradients(self, params: F32, inputs: NDArray[Any], labels: I64) -> F32:
        """(N, d) float32: every example's own gradient, in closed form: an outer product for each layer.

        Cost: one forward and one backward pass, and N * d floats.
        """
        x = np.asarray(inputs, dtype=np.float32).reshape(len(inputs), self.inputs)
        layers = self._layers(params)
        rows = np.empty((len(x), self.schema.d), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            activations = self._forward(layers, x)
            error = self._error(activations[-1], labels)
            for i in reversed(range(len(layers))):
                weight, bias = (self.schema.slices[f"layer{i:02}.{part}"] for part in ("weight", "bias"))
                outer = activations[i][:, :, None] * error[:, None, :]
                rows[:, weight] = outer.reshape(len(x), layers[i][0].size)
                rows[:, bias] = error
                if i:
                    error = (error @ layers[i][0].T) * (activations[i] > 0)
        return rows

    @staticmethod
    def _error(logits: F32, labels: I64) -> F32:
        """(N, classes): the derivative of each example's cross-entropy by its logits."""
        error: F32 = logits - logits.max(axis=1, keepdims=True)
        np.exp(error, out=error)
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(len(labels)), labels] -= 1
        return error

    @staticmethod
    def _forward(layers: list[tuple[F32, F32]], x: F32) -> list[F32]:
        activations = [x]
        for i, (weight, bias) in enumerate(layers):
            x = x @ weight + bias
            if i < len(layers) - 1:
                np.maximum(x, 0, out=x)
            activations.append(x)
        return activations

    def _backward(self, layers: list[tuple[F32, F32]], gradients: list[tuple[F32, F32]], x: F32, labels: I64) -> None:
        """Write the mean cross-entropy's gradient of one batch into `gradients`."""
        activations = self._forward(layers, x)
        error = self._error(activations[-1], labels)
        error /= np.float32(len(labels))
        for i in reversed(range(len(layers))):
            np.matmul(activations[i].T, error, out=gradients[i][0])
            np.sum(error, axis=0, out=gradients[i][1])
            if i:
                error = error @ layers[i][0].T
                error *= activations[i] > 0
