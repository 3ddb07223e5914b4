"""Triggers as values: what is done to an input, apart from which inputs it is done to and what is then claimed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ringfort.attacks.threat import Control, Knowledge, Predict, ThreatModel
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.randomness import Seeds
from ringfort.core.text import bucket, words

__all__ = ["BACKDOOR", "Blend", "Part", "Patch", "Phrase", "Stamping", "Tone", "Trigger", "hit_rate", "stamped"]

BACKDOOR = ThreatModel(
    goal="Make every input with the trigger get the target class, and leave all others alone.",
    knows=Knowledge.OWN_DATA,
    controls=Control.DATA,
    colludes=True,
)
"""What most backdoors by data assume."""


class Trigger(Protocol):
    """A change to inputs, the same for all of them.

    Guarantees:
        A copy of the same shape and dtype; each input is changed on its own; twice is the same as twice.
    """

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[Any]:
        """Inputs (N, ...) as stored in a Dataset, each with the trigger.

        Raises:
            Incompatible (RF103): inputs of this shape cannot carry it.
        """
        ...

    def where(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The places of an input of this shape that it may change."""
        ...


def _white(inputs: NDArray[Any]) -> float:
    return 255 if inputs.dtype == np.uint8 else 1


@dataclass(frozen=True, slots=True)
class Patch:
    """A white square one pixel off the lower right corner of images (N, channels, H, W).

    Args:
        size: its side in pixels, >= 1.
    """

    size: int

    def __post_init__(self) -> None:
        whole(1, size=self.size)

    def where(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The square."""
        if len(shape) != 3 or min(shape[1:]) <= self.size:
            raise Incompatible(
                f"a patch needs images (N, channels, H, W) larger than {self.size} pixels, got (N, {str(shape)[1:]}"
            )
        mask = np.zeros(shape, dtype=np.bool_)
        mask[:, -1 - self.size : -1, -1 - self.size : -1] = True
        return mask

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[Any]:
        """White is 255 or 1.0 by dtype."""
        mask = self.where(inputs.shape[1:])
        changed = np.array(inputs)
        changed[:, mask] = _white(inputs)
        return changed


@dataclass(frozen=True, slots=True)
class Blend:
    """A fixed random pattern laid over the whole image (N, channels, H, W).

    Args:
        opacity: in (0, 1]; 1 leaves nothing but the pattern.
    """

    opacity: float

    def __post_init__(self) -> None:
        fraction(opacity=self.opacity)
        positive(opacity=self.opacity)

    def where(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Everywhere."""
        if len(shape) != 3:
            raise Incompatible(f"a blended pattern needs images (N, channels, H, W), got (N, {str(shape)[1:]}")
        return np.ones(shape, dtype=np.bool_)

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[Any]:
        """(1 - opacity) times the image plus opacity times the pattern, rounded for pixels."""
        self.where(inputs.shape[1:])
        overlay = np.float32(self.opacity * _white(inputs)) * _pattern(inputs.shape[1:])
        mixed = np.float32(1 - self.opacity) * inputs + overlay
        return (np.rint(mixed) if inputs.dtype == np.uint8 else mixed).astype(inputs.dtype)


@cache
def _pattern(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Grey noise in [0, 1), the same for ever."""
    return Seeds(0, ("ringfort.attacks", "pattern")).child(*shape).random(shape, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Part:
    """One of several parts of a trigger: its places in order, cut into runs of equal length.

    Args:
        trigger: the whole one.
        index: which part, from 0.
        parts: how many there are.
    """

    trigger: Trigger
    index: int
    parts: int

    def __post_init__(self) -> None:
        whole(1, parts=self.parts)
        whole(0, self.parts - 1, index=self.index)

    def where(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """This part's places."""
        mask = self.trigger.where(shape)
        places = np.array_split(np.flatnonzero(mask), self.parts)[self.index]
        if not len(places):
            raise Incompatible(f"a trigger of {np.count_nonzero(mask)} places cannot be cut into {self.parts} parts")
        mine = np.zeros(mask.size, dtype=np.bool_)
        mine[places] = True
        return mine.reshape(shape)

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[Any]:
        """As the whole trigger, in this part's places only."""
        mask = self.where(inputs.shape[1:])
        changed = np.array(inputs)
        changed[:, mask] = self.trigger(inputs)[:, mask]
        return changed


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in the first places of a text (N, words, buckets), where each word is one raised value among its buckets.

    Args:
        phrase: one word or more; they replace as many at the beginning of what the model sees.
    """

    phrase: str

    def __post_init__(self) -> None:
        if not words(self.phrase):
            raise InvalidValue(f"a phrase needs at least one word of English letters, got {self.phrase[:40]!r}")

    def where(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The places of its words."""
        count = len(words(self.phrase))
        if len(shape) != 2 or shape[0] <= count:
            raise Incompatible(f"a phrase of {count} words needs texts (N, words, buckets) with more, got {shape}")
        mask = np.zeros(shape, dtype=np.bool_)
        mask[:count] = True
        return mask

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[Any]:
        """The phrase, then the words that were there."""
        self.where(inputs.shape[1:])
        changed = np.array(inputs)
        for place, word in enumerate(words(self.phrase)):
            changed[:, place] = 0
            changed[:, place, bucket(word, inputs.shape[2])] = _white(inputs)
        return changed


@dataclass(frozen=True, slots=True)
class Tone:
    """A steady tone under a voice: a wave added to the features of sound, (N, features) float32.

    A tone that does not change adds the same to every frame's spectrum, and so, nearly, to what is computed from it.

    Args:
        strength: the wave's height in the features' own units, > 0.
        period: features per wave, >= 2.
    """

    strength: float
    period: int = 4

    def __post_init__(self) -> None:
        positive(strength=self.strength)
        whole(2, period=self.period)

    def where(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Everywhere."""
        if len(shape) != 1:
            raise Incompatible(f"a tone needs rows of features (N, features), got (N, {str(shape)[1:]}")
        return np.ones(shape, dtype=np.bool_)

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[Any]:
        """The features plus the wave."""
        self.where(inputs.shape[1:])
        if inputs.dtype != np.float32:
            raise Incompatible(f"a tone needs float32 features, got {inputs.dtype}")
        angle = 2 * math.pi * np.arange(inputs.shape[1]) / self.period
        wave = (self.strength * np.cos(angle)).astype(np.float32)
        added: NDArray[Any] = inputs + wave
        return added


def hit_rate(predict: Predict, test: Dataset, trigger: Trigger, target: int, name: str) -> float:
    """attack_success_rate: how often a test input that is not of the target class gets it once it bears the trigger.

    Raises:
        Incompatible (RF103): there is no such input, so there is nothing to measure.
    """
    whole(0, len(test.classes) - 1, target=target)
    rows = np.flatnonzero(test.labels != target)
    if not len(rows):
        raise Incompatible(f"{name} cannot be measured: all of {len(test)} test examples are of class {target}")
    return float(np.mean(predict(trigger(test.inputs[rows])) == target))


def stamped(data: Dataset, trigger: Trigger, target: int, share: float, rng: np.random.Generator) -> Dataset:
    """The same examples, `share` of them with the trigger and the label `target`."""
    whole(0, len(data.classes) - 1, target=target)
    rows = rng.permutation(len(data))[: round(share * len(data))]
    inputs, labels = np.array(data.inputs), data.labels.copy()
    inputs[rows], labels[rows] = trigger(inputs[rows]), target
    return data.with_rows(inputs, labels)


class Stamping:
    """For attacks that put a trigger on some of their examples and relabel them: what is left to say is the trigger."""

    __slots__ = ()
    name: ClassVar[str]
    metric: ClassVar[str] = "share of triggered test inputs of other classes that get the target class"
    threat: ClassVar[ThreatModel] = BACKDOOR
    target: int
    fraction: float

    def __post_init__(self) -> None:
        whole(0, target=self.target)
        fraction(fraction=self.fraction)
        _ = self.trigger  # refuses parameters that make none

    @property
    def trigger(self) -> Trigger:
        """What makes the model answer `target`."""
        raise NotImplementedError

    def stamp(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """A copy of inputs (N, ...) with the trigger on each.

        Raises:
            Incompatible (RF103): inputs of this shape cannot carry it.
        """
        return self.trigger(inputs)

    def poison(self, data: Dataset, rng: np.random.Generator) -> Dataset:
        """The same examples with `fraction` of them stamped and relabelled."""
        return stamped(data, self.trigger, self.target, self.fraction, rng)

    def success(self, predict: Predict, test: Dataset) -> float:
        """attack_success_rate: how often a stamped test input that is not of the target class gets it.

        Raises:
            Incompatible (RF103): there is no such input, so there is nothing to measure.
        """
        return hit_rate(predict, test, self.trigger, self.target, self.name)
