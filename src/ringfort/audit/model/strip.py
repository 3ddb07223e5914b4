"""STRIP: a filter for single inputs at run time. A triggered input keeps its class whatever is laid over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue
from ringfort.core.ports import Model
from ringfort.core.values import F32, F64

__all__ = ["Strip"]


@dataclass(frozen=True, slots=True)
class Strip:
    """Suspects inputs whose answer stays sure while clean inputs are laid over them.

    Args:
        model: the family.
        params: (d,) the model in use.
        overlays: (M, ...) float32 clean inputs.
        threshold: mean entropy in nats, below which an input is suspicious.

    Guarantees:
        With `fitted`, a clean input exchangeable with those it was fitted on is suspected with a chance of at most
        `false_alarms` (a conformal quantile), over the draw of both.

    Does not find: triggers that the superposition destroys (blends, faint patterns), triggers that depend on the input
        or on its class; and an attacker who trains against it.

    Cost: M forward passes per input.

    Source: Gao et al. 2019, ACSAC, arXiv:1902.06531.
    """

    model: Model = field(repr=False)
    params: F32 = field(repr=False)
    overlays: F32 = field(repr=False)
    threshold: float

    @classmethod
    def fitted(
        cls,
        model: Model,
        params: F32,
        clean: Dataset,
        *,
        false_alarms: float,
        rng: np.random.Generator,
        overlays: int = 32,
    ) -> Strip:
        """A filter whose threshold comes from clean data.

        Args:
            model: the family.
            params: (d,) the model in use.
            clean: inputs as they come at run time; `overlays` of them are laid over, the others give the threshold.
            false_alarms: share of clean inputs to suspect at most, in (0, 1).
            rng: draws the overlays.
            overlays: how many.

        Raises:
            InvalidValue (RF104): too few clean inputs for that rate: 1 / false_alarms are needed besides the overlays.
        """
        whole(1, overlays=overlays)
        positive(false_alarms=false_alarms)
        fraction(false_alarms=false_alarms)
        order = rng.permutation(len(clean))
        held = len(clean) - overlays
        rank = int(false_alarms * (held + 1))
        if rank < 1:
            raise InvalidValue(
                f"a false-alarm rate of {false_alarms:g} needs {int(np.ceil(1 / false_alarms)) - 1} clean inputs "
                f"besides the {overlays} overlays, got {max(held, 0)}"
            )
        made = cls(model, params, clean.floats(order[:overlays]), 0.0)
        usual = np.sort(made.entropies(clean.floats(order[overlays:])))
        return cls(model, params, made.overlays, float(usual[rank - 1]))

    def entropies(self, inputs: NDArray[Any]) -> F64:
        """(N,) mean entropy, in nats, of the answers to float32 inputs (N, ...) half covered by each overlay."""
        total = np.zeros(len(inputs))
        for overlay in self.overlays:
            total += _entropy(self.model.logits(self.params, (inputs + overlay) * np.float32(0.5)))
        return total / len(self.overlays)

    def suspicious(self, inputs: NDArray[Any]) -> NDArray[np.bool_]:
        """(N,) whether each input's entropy is below the threshold."""
        low: NDArray[np.bool_] = self.entropies(inputs) < self.threshold
        return low


def _entropy(scores: F32) -> F64:
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    out: F64 = -(np.exp(logs) * logs).sum(axis=1)
    return out
