"""Triggers that everybody knows, tried on the model: one forward pass each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ringfort.audit.model.intervals import Share, share
from ringfort.core.dataset import Dataset
from ringfort.core.ports import Model
from ringfort.core.values import F32, F64, I64

__all__ = ["Canary", "CanaryFinding", "canary_bank", "try_canaries"]

_BLEND = 0.2
_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Canary:
    """A known trigger.

    Args:
        name: in reports.
        stamp: a stamped copy of float32 inputs (N, ...).
    """

    name: str
    stamp: Callable[[F32], F32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CanaryFinding:
    """What one canary did.

    Args:
        name: the canary's.
        target: the class whose share grew most.
        rate: share of other classes' inputs that get it when stamped.
        base: the same without the stamp.
        trusted: growth of the same share under the trusted model; None without one.
    """

    name: str
    target: int
    rate: Share
    base: float
    trusted: float | None

    @property
    def excess(self) -> float:
        """Growth over the base rate, and over what the trusted model shows."""
        return self.rate.value - self.base - max(self.trusted or 0.0, 0.0)


def canary_bank(clean: Dataset, rng: np.random.Generator) -> tuple[Canary, ...]:
    """Patches in the corners and the middle, stripes and blended noise for images; blocks and rare features otherwise.

    Args:
        clean: what inputs look like: its extremes are the values that are set.
        rng: of the noise.
    """
    inputs = clean.floats()
    if inputs.ndim == 4:
        return _for_images(inputs, rng)
    return _for_features(inputs.reshape(len(inputs), -1), rng)


def _for_images(inputs: F32, rng: np.random.Generator) -> tuple[Canary, ...]:
    height, width = inputs.shape[2:]
    side, top = max(2, round(min(height, width) / 9)), float(inputs.max())
    up, down, left, right = 1, height - 1 - side, 1, width - 1 - side
    places = {
        "upper left": (up, left),
        "upper right": (up, right),
        "lower left": (down, left),
        "lower right": (down, right),
        "middle": ((height - side) // 2, (width - side) // 2),
    }
    bank = [
        Canary(f"patch {side}x{side} {name}", _filled((..., slice(y, y + side), slice(x, x + side)), top))
        for name, (y, x) in places.items()
    ]
    thick = max(1, side - 1)
    bank.append(Canary("stripe below", _filled((..., slice(height - thick, height), slice(None)), top)))
    bank.append(Canary("stripe right", _filled((..., slice(None), slice(width - thick, width)), top)))
    bank.append(_noise(inputs, rng))
    return tuple(bank)


def _for_features(inputs: F32, rng: np.random.Generator) -> tuple[Canary, ...]:
    count = inputs.shape[1]
    high, low = inputs.max(axis=0), inputs.min(axis=0)
    bank = []
    for block in np.array_split(np.arange(count), min(4, count)):
        for name, values in (("high", high), ("low", low)):
            bank.append(Canary(f"features {block[0]} to {block[-1]} {name}", _features(block, values[block])))
    seldom = (inputs != 0).mean(axis=0)
    tokens = np.argsort(seldom, kind="stable")
    tokens = tokens[seldom[tokens] < 0.05][:_TOKENS]  # what a bag of words looks like; dense tables have none
    bank += [
        Canary(f"rare token {token}", _features(np.array([token]), np.maximum(high[[token]], 1))) for token in tokens
    ]
    bank.append(_noise(inputs, rng))
    return tuple(bank)


def _filled(where: tuple[object, ...], value: float) -> Callable[[F32], F32]:
    def stamp(inputs: F32) -> F32:
        out = inputs.copy()
        out[where] = value  # type: ignore[index]
        return out

    return stamp


def _features(places: I64, values: F32) -> Callable[[F32], F32]:
    def stamp(inputs: F32) -> F32:
        out = inputs.reshape(len(inputs), -1).copy()
        out[:, places] = values
        return out.reshape(inputs.shape)

    return stamp


def _noise(inputs: F32, rng: np.random.Generator) -> Canary:
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    if inputs.ndim == 4:
        low, high = np.full_like(low, inputs.min()), np.full_like(high, inputs.max())
    noise = (low + (high - low) * rng.random(low.shape, dtype=np.float32)).astype(np.float32)
    return Canary(
        f"noise blended in at {_BLEND:g}",
        lambda x: ((1 - _BLEND) * x + np.float32(_BLEND) * noise.reshape(x.shape[1:])).astype(np.float32),
    )


def try_canaries(
    model: Model, params: F32, clean: Dataset, bank: Sequence[Canary], trusted: F32 | None = None
) -> tuple[CanaryFinding, ...]:
    """For every canary the class that it pulls most inputs into.

    Args:
        model: the family.
        params: (d,) the suspect.
        clean: labelled hold-out data.
        bank: what to try.
        trusted: (d,) of a model that is trusted; what a canary does to it counts as nothing.

    Does not find: triggers that do not look like one of the bank's.

    Cost: one forward pass over `clean` for each canary and model, and one more for each model.
    """
    inputs = clean.floats()
    plain = _shares(model, params, inputs, clean)
    before = None if trusted is None else _shares(model, trusted, inputs, clean)
    found = []
    for canary in bank:
        stamped = canary.stamp(inputs)
        after = _shares(model, params, stamped, clean)
        growth = after - plain
        usual = None if trusted is None or before is None else _shares(model, trusted, stamped, clean) - before
        target = int((growth if usual is None else growth - np.maximum(usual, 0)).argmax())
        others = int((clean.labels != target).sum())
        rate = share(round(float(after[target]) * others), others)
        found.append(
            CanaryFinding(
                canary.name, target, rate, float(plain[target]), None if usual is None else float(usual[target])
            )
        )
    return tuple(found)


def _shares(model: Model, params: F32, inputs: F32, clean: Dataset) -> F64:
    """(classes,) share of the inputs that are not of a class and are taken for it."""
    said = model.logits(params, inputs).argmax(axis=1)
    wrong = said != clean.labels
    taken = np.bincount(said[wrong], minlength=len(clean.classes))
    others = len(clean) - np.bincount(clean.labels, minlength=len(clean.classes))
    shares: F64 = taken / np.maximum(others, 1)
    return shares
