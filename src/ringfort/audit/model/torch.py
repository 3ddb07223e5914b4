"""Input gradients of torch models."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ringfort.audit.model.gradients import Errors
from ringfort.client.torch import TorchModel
from ringfort.core.errors import Incompatible
from ringfort.core.ports import Model
from ringfort.core.values import F32

__all__ = ["DifferentiableModule", "of"]


@dataclass(frozen=True, slots=True)
class DifferentiableModule:
    """A torch module with fixed parameters, in evaluation mode.

    Args:
        module: it.
    """

    module: nn.Module = field(repr=False)

    def pull(self, inputs: F32, errors: Errors) -> tuple[F32, F32]:
        """Scores and input gradients: one forward and one backward pass."""
        x = torch.from_numpy(np.require(inputs, dtype=np.float32, requirements=["C", "W"])).requires_grad_()
        scores: Tensor = self.module(x)
        seen: F32 = scores.detach().numpy()
        (gradient,) = torch.autograd.grad(scores, [x], torch.from_numpy(errors(seen)))
        found: F32 = gradient.numpy()
        return seen, found


def of(model: Model, params: F32) -> DifferentiableModule:
    """A copy of the model's module with these parameters.

    Raises:
        Incompatible (RF103): not a torch model.
    """
    if not isinstance(model, TorchModel):
        raise Incompatible("the search for triggers needs gradients: a perceptron, or a model of client.torch")
    with torch.random.fork_rng(devices=[]):
        module = model.build().eval()
    views = model.schema.views(params)
    for name, parameter in module.named_parameters():
        parameter.data = torch.tensor(views[name])
        parameter.requires_grad_(False)
    return DifferentiableModule(module)
