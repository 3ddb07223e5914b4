"""Taking a backdoor out: unlearn the recovered trigger, train on clean data, or cut the neurons that carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ringfort.audit.model.gradients import differentiable
from ringfort.audit.model.inversion import NeuralCleanse, Trigger
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.ports import LocalTraining, Model
from ringfort.core.values import F32, F64

__all__ = ["REPAIRS", "Pruned", "fine_tuned", "pruned", "unlearned"]

REPAIRS: Final = ("unlearn", "fine-tune", "prune")
_BATCH: Final = 50
_FEWEST_STEPS: Final = 100


def unlearned(
    model: Model,
    params: F32,
    clean: Dataset,
    triggers: Sequence[Trigger],
    rng: np.random.Generator,
    *,
    stamped: float = 0.3,
    epochs: int = 10,
    learning_rate: float = 0.02,
    again: int = 2,
    search: NeuralCleanse | None = None,
) -> F32:
    """Parameters trained on clean examples, a share of which carry the recovered triggers under their true labels.

    A recovered trigger is only a part of the real one. So afterwards the same classes are searched again, and what is
    found is unlearned together with what was found before.

    Args:
        model: the family.
        params: (d,) the suspect.
        clean: labelled examples, which must not be those that the result is measured on.
        triggers: what to unlearn; each gets an equal part of the stamped examples.
        rng: which examples are stamped, and their order.
        stamped: their share, in [0, 1].
        epochs: over the examples, but at least 100 steps.
        learning_rate: of SGD with momentum 0.9.
        again: how often to search and unlearn once more; 0 needs no gradients.
        search: how to recover triggers.

    Does not protect against: triggers that were not recovered, or only in part. Audit the result again.

    Cost: `epochs` passes of training over `clean`, and a search for the triggers' classes, for each time.

    Source: Wang et al. 2019, IEEE S&P, "Neural Cleanse", Section VI-C.
    """
    if not triggers:
        raise InvalidValue("there is no trigger to unlearn")
    fraction(stamped=stamped)
    whole(0, again=again)
    search = NeuralCleanse() if search is None else search
    known, targets = list(triggers), sorted({trigger.target for trigger in triggers})
    for time in range(again + 1):
        if time:
            known += search.triggers(differentiable(model, params), clean, rng, targets)
        inputs = clean.floats()
        rows = rng.permutation(len(clean))[: round(stamped * len(clean))]
        for trigger, part in zip(known, np.array_split(rows, len(known)), strict=True):
            inputs[part] = trigger.stamp(inputs[part])
        params = _trained(model, params, clean.with_rows(inputs, clean.labels), rng, epochs, learning_rate)
    return params


def fine_tuned(
    model: Model,
    params: F32,
    clean: Dataset,
    rng: np.random.Generator,
    *,
    epochs: int = 10,
    learning_rate: float = 0.02,
) -> F32:
    """Parameters trained on clean examples only.

    Does not protect: on its own it often leaves much of a backdoor in place.
    """
    return _trained(model, params, clean, rng, epochs, learning_rate)


def _trained(
    model: Model, params: F32, data: Dataset, rng: np.random.Generator, epochs: int, learning_rate: float
) -> F32:
    whole(1, epochs=epochs)
    batch = min(_BATCH, len(data))
    steps = max(epochs * (len(data) // batch), _FEWEST_STEPS)
    plan = LocalTraining(steps, batch, learning_rate, 0.9)
    return params + model.train(params, data, plan, rng)


@dataclass(frozen=True, slots=True)
class Pruned:
    """A model without some neurons.

    Args:
        params: (d,) its parameters.
        neurons: of the last hidden layer that no longer speak, in the order they were cut.
    """

    params: F32 = field(repr=False)
    neurons: tuple[int, ...]


def pruned(
    model: Model, params: F32, clean: Dataset, trigger: Trigger, *, success: float = 0.05, accuracy_loss: float = 0.02
) -> Pruned:
    """Cut last hidden neurons, those that the trigger uses most first, but none that accuracy needs, until it fails.

    Args:
        model: a family whose last layer is dense.
        params: (d,) the suspect.
        clean: labelled examples.
        trigger: recovered.
        success: of the trigger at which to stop.
        accuracy_loss: more than this is not paid.

    Raises:
        Incompatible (RF103): the last layer is not dense.

    Cost: two forward passes for each ten neurons, and two for each neuron that is cut.

    Source: Wang et al. 2019, Section VI-B. Neurons are told apart by how much they add to the target's score.
    """
    head = _Head.of(model)
    others = clean.labels != trigger.target
    inputs = clean.floats()
    stamped = trigger.stamp(inputs[others])
    weights = head.weights(params)
    rise = head.activations(model, params, stamped).mean(axis=0)
    rise -= head.activations(model, params, inputs[others]).mean(axis=0)
    rest = np.delete(weights, trigger.target, axis=1).mean(axis=1)
    order = np.argsort(-rise * (weights[:, trigger.target] - rest), kind="stable")
    least = _accuracy(model, params, inputs, clean) - accuracy_loss
    best, cut = params, []
    for neuron in order[: head.hidden // 2]:
        tried = best.copy()
        head.weights(tried)[neuron] = 0
        if _accuracy(model, tried, inputs, clean) < least:
            continue
        best = tried
        cut.append(int(neuron))
        if float((model.logits(tried, stamped).argmax(axis=1) == trigger.target).mean()) <= success:
            break
    return Pruned(best, tuple(cut))


def _accuracy(model: Model, params: F32, inputs: F32, clean: Dataset) -> float:
    return float((model.logits(params, inputs).argmax(axis=1) == clean.labels).mean())


@dataclass(frozen=True, slots=True)
class _Head:
    """The last dense layer of a model, found by its shape and by trying it out."""

    weight: slice
    bias: slice
    hidden: int
    classes: int
    rows_are_classes: bool

    @classmethod
    def of(cls, model: Model) -> _Head:
        tensors = dict(model.schema.tensors)
        weights = [name for name, shape in tensors.items() if len(shape) == 2]
        if not weights:
            raise Incompatible("pruning needs a model whose last layer is dense")
        name = max(weights, key=_number)
        bias = name.removesuffix("weight") + "bias"
        classes = tensors.get(bias, (0,))[0]
        if classes not in tensors[name]:
            raise Incompatible("pruning needs a model whose last layer is dense")
        rows_are_classes = tensors[name][0] == classes
        hidden = tensors[name][1 if rows_are_classes else 0]
        return cls(model.schema.slices[name], model.schema.slices[bias], hidden, classes, rows_are_classes)

    def weights(self, params: F32) -> F32:
        """(hidden, classes) view."""
        part = params[self.weight]
        return part.reshape(self.classes, self.hidden).T if self.rows_are_classes else part.reshape(self.hidden, -1)

    def activations(self, model: Model, params: F32, inputs: F32) -> F64:
        """(N, hidden), read off the scores: a head of ones lets a few neurons through at a time."""
        probe = params.copy()
        probe[self.bias] = 0
        seen = np.empty((len(inputs), self.hidden))
        for start in range(0, self.hidden, self.classes):
            some = np.arange(start, min(start + self.classes, self.hidden))
            through = self.weights(probe)
            through[...] = 0
            through[some, some - start] = 1
            seen[:, some] = model.logits(probe, inputs)[:, : len(some)]
        return seen


def _number(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts layer2 before layer10."""
    digits = "".join(c if c.isdigit() else " " for c in name).split()
    return tuple((int(part), "") for part in digits) or ((-1, name),)
