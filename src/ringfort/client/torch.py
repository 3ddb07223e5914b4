"""torch modules as models of d float32 numbers. The only place, with its users in `client`, that imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ringfort.client.batches import minibatches
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.extras import extra
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import Schema
from ringfort.core.values import F32, I64

__all__ = ["TorchModel", "cnn", "logistic", "mlp"]

_EVALUATION_BATCH = 1_000


class TorchModel:
    """Any torch module whose parameters are float32 and which keeps no buffers.

    The module is built once. Its parameters and gradients become views into two flat vectors, so that loading a
    broadcast is one copy, a step of SGD is four vector operations, and there is no optimiser object per client.

    Args:
        build: makes the module; called once here, and once in `initial` after seeding torch from the recipe's seeds.

    Guarantees:
        Equal parameters, data, plan and generator give equal bits on one machine and one thread, as engines run it.
        torch's global generator is left as it was found.

    Raises:
        Incompatible (RF103): a parameter that is not float32, or a buffer (BatchNorm's running statistics are data of
            the clients that no rule aggregates and no noise covers: use GroupNorm).

    Limits: dropout and other layers that draw from torch's global generator get it seeded from the client's stream.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self.build = build
        self._by_example: Any = None
        with torch.random.fork_rng(devices=[]):
            self._module = build().train()
        buffers = [name for name, _ in self._module.named_buffers()]
        if buffers:
            raise Incompatible(f"the module keeps buffers ({buffers[0]}, ...): use layers without, as GroupNorm")
        named = dict(self._module.named_parameters())
        wrong = [name for name, p in named.items() if p.dtype != torch.float32]
        if wrong:
            raise Incompatible(f"every parameter must be float32, {wrong[0]} is {named[wrong[0]].dtype}")
        self._schema = Schema.of({name: tuple(p.shape) for name, p in named.items()})
        self._flat, self._gradient = torch.zeros(self._schema.d), torch.zeros(self._schema.d)
        for name, shape in self._schema.tensors:
            part = self._schema.slices[name]
            named[name].data = self._flat[part].view(shape)
            named[name].grad = self._gradient[part].view(shape)

    @property
    def schema(self) -> Schema:
        """The module's named parameters, ordered by name."""
        return self._schema

    def initial(self, seeds: Seeds) -> F32:
        """The parameters of a freshly built module, with torch seeded for it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer("torch"))
            fresh = dict(self.build().named_parameters())
        flat = np.empty(self._schema.d, dtype=np.float32)
        for name, part in self._schema.slices.items():
            flat[part] = fresh[name].detach().numpy().reshape(-1)
        return flat

    def train(self, params: F32, data: Dataset, plan: LocalTraining, rng: np.random.Generator) -> F32:
        """Local SGD; returns delta = local - params, (d,) float32."""
        start = torch.tensor(params)
        flat, gradient, velocity = self._flat, self._gradient, torch.zeros_like(start)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            flat.copy_(start)
            self._module.train()
            for rows in minibatches(len(data), plan, rng):
                x, labels = torch.from_numpy(data.inputs[rows]), torch.from_numpy(data.labels[rows])
                x = x.to(torch.float32).mul_(1 / 255) if x.dtype == torch.uint8 else x
                gradient.zero_()
                loss: Tensor = F.cross_entropy(self._module(x), labels)
                torch.autograd.backward(loss)
                if plan.weight_decay:
                    gradient.add_(flat, alpha=plan.weight_decay)
                velocity.mul_(plan.momentum).add_(gradient)
                flat.add_(velocity, alpha=-plan.learning_rate)
            return (flat - start).numpy()

    def example_gradients(self, params: F32, inputs: NDArray[Any], labels: I64) -> F32:
        """(N, d) float32: every example's own gradient, by opacus.

        Raises:
            MissingExtra (RF105): opacus is not installed (extra `dpsgd`).
            Incompatible (RF103): a layer that mixes examples, or one that opacus cannot take apart.

        Cost: one forward and one backward pass, and N * d floats.
        """
        if self._by_example is None:
            self._by_example = _sampled(self.build)
        module, rows = self._by_example, np.empty((len(inputs), self._schema.d), dtype=np.float32)
        if not len(inputs):
            return rows
        x = torch.from_numpy(np.require(inputs, dtype=np.float32, requirements=["C", "W"]))
        x.requires_grad_()  # opacus' hooks want something to differentiate by in the first layer
        named = {name.removeprefix("_module."): p for name, p in module.named_parameters()}
        flat = torch.tensor(params)
        for name, shape in self._schema.tensors:
            named[name].data = flat[self._schema.slices[name]].view(shape)
            named[name].grad_sample = None
        with torch.random.fork_rng(devices=[]):
            loss: Tensor = F.cross_entropy(module(x), torch.from_numpy(labels), reduction="sum")
            torch.autograd.backward(loss)
        for name, part in self._schema.slices.items():
            rows[:, part] = named[name].grad_sample.reshape(len(inputs), -1).numpy()
            named[name].grad = named[name].grad_sample = None
        return rows

    def logits(self, params: F32, inputs: NDArray[Any]) -> F32:
        """(N, classes) float32 scores, in evaluation mode."""
        x = torch.from_numpy(np.require(inputs, dtype=np.float32, requirements=["C", "W"]))
        with torch.inference_mode():
            self._flat.copy_(torch.tensor(params))
            self._module.eval()
            parts: list[Tensor] = [self._module(part) for part in torch.split(x, _EVALUATION_BATCH)]
            out: F32 = torch.cat(parts).numpy()
            return out


def _sampled(build: Callable[[], nn.Module]) -> Any:
    """A second copy of the module whose backward pass leaves one gradient per example, by opacus.

    opacus' noise, optimiser and accountants are not used: its noise is float normals (its secure mode needs a package
    that cannot be installed any more), and how steps are counted is the ledger's business.
    """
    with extra("dpsgd", "example-level privacy of a torch model needs opacus"):
        from opacus.grad_sample import GradSampleModule
        from opacus.validators import ModuleValidator
    with torch.random.fork_rng(devices=[]):
        module = build().train()
    if problems := ModuleValidator.validate(module, strict=False):
        raise Incompatible(f"this module has no per-example gradients: {problems[0]}")
    try:
        return GradSampleModule(module, loss_reduction="sum")
    except NotImplementedError as error:
        raise Incompatible(f"this module has no per-example gradients: {error}") from error


class _Centre(nn.Module):
    """Pixels from [0, 1] to [-1, 1], which trains faster."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


def cnn(input_shape: tuple[int, ...], classes: int, channels: int = 8, hidden: int = 32) -> TorchModel:
    """A small convolutional network for pixels in [0, 1]: two strided convolutions (5x5, 3x3), two dense layers, ReLU.

    Args:
        input_shape: (channels, height, width), height and width at least 4.
        classes: outputs.
        channels: of the first convolution; the second has twice as many.
        hidden: width of the dense layer.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 4:
        raise Incompatible(f"cnn needs images (channels, height, width) of at least 4x4, got {input_shape}")
    height, width = ((((size + 1) // 2) + 1) // 2 for size in input_shape[1:])

    def build() -> nn.Module:
        return nn.Sequential(
            _Centre(),
            nn.Conv2d(input_shape[0], channels, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * channels * height * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    return TorchModel(build)


def mlp(input_shape: tuple[int, ...], classes: int, hidden: int = 64) -> TorchModel:
    """A perceptron with one hidden ReLU layer."""
    inputs = int(np.prod(input_shape))
    return TorchModel(
        lambda: nn.Sequential(nn.Flatten(), _Centre(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    )


def logistic(input_shape: tuple[int, ...], classes: int) -> TorchModel:
    """Softmax regression."""
    inputs = int(np.prod(input_shape))
    return TorchModel(lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes)))
