"""An audited model from outside the client, and what it thinks of the client's labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from ringfort.client.perceptron import Perceptron
from ringfort.client.sanitise.check import Signs
from ringfort.core.checks import positive
from ringfort.core.dataset import Dataset
from ringfort.core.errors import BadCheckpoint, DataUnavailable, Incompatible, InvalidValue, MalformedUpdate
from ringfort.core.ports import Model
from ringfort.core.tensors import digest_of
from ringfort.core.values import F32, F64

__all__ = ["Reference", "ReferenceLoss"]

_BATCH: Final = 4_096


@dataclass(frozen=True, eq=False)
class Reference:
    """A model that somebody audited, pinned by its digest.

    Args:
        model: its family.
        params: (d,) float32.
        digest: SHA-256 of its file: what `sha256sum` prints.

    Does not protect against: an audit that missed something. A reference that was poisoned itself finds the poison
        normal.
    """

    model: Model = field(repr=False)
    params: F32 = field(repr=False)
    digest: str

    @classmethod
    def load(cls, path: Path, digest: str, model: Model) -> Reference:
        """Read a checkpoint, after comparing it with its pin.

        Raises:
            DataUnavailable (RF106): no such file. BadCheckpoint (RF702): another digest.
            Incompatible (RF103): a checkpoint of another model. InvalidValue (RF104): no digest.
        """
        wanted = digest.strip().lower()
        if len(wanted) != 64 or set(wanted) - set("0123456789abcdef"):
            raise InvalidValue("a reference is pinned by the 64 hexadecimal digits of its file's SHA-256")
        try:
            body = path.read_bytes()
        except OSError as error:
            raise DataUnavailable(f"cannot read the reference {path}: {error.strerror or error}") from error
        found = digest_of(body)
        if found != wanted:
            raise BadCheckpoint(f"the reference {path} has sha256 {found}, pinned is {wanted}")
        try:
            params = model.schema.decode(body)
        except MalformedUpdate as error:
            raise Incompatible(f"the reference {path} is a checkpoint of another model: {error.message}") from error
        if not np.isfinite(params).all():
            raise BadCheckpoint(f"the reference {path} holds values that are not finite")
        return cls(model, params, wanted)

    def probabilities(self, data: Dataset) -> F64:
        """(N, classes) softmax of the model's scores.

        Raises:
            Incompatible (RF103): the model does not take these inputs, or has another number of classes.
        """
        found = np.empty((len(data), len(data.classes)))
        for start in range(0, len(data), _BATCH):
            rows = slice(start, start + _BATCH)
            scores = self._scores(data, rows)
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            found[rows] = scores / scores.sum(axis=1, keepdims=True)
        return found

    def features(self, data: Dataset) -> F32:
        """(N, width) what the model makes of the rows: its last hidden layer if it is a perceptron, else its scores."""
        try:
            net = Perceptron.of(self.model)
        except Incompatible:
            return self._all(data)
        parts = [
            net.activations(self.params, np.nan_to_num(data.floats(slice(at, at + _BATCH)), posinf=0, neginf=0))[
                -2 if net.layers[1:] else -1
            ]
            for at in range(0, len(data), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)

    def _all(self, data: Dataset) -> F32:
        parts = [self._scores(data, slice(at, at + _BATCH)).astype(np.float32) for at in range(0, len(data), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)

    def _scores(self, data: Dataset, rows: slice) -> F64:
        try:
            scores = self.model.logits(self.params, np.nan_to_num(data.floats(rows), posinf=0, neginf=0))
        except (ValueError, RuntimeError) as error:
            raise Incompatible(f"the reference does not take inputs of shape {data.input_shape}") from error
        if scores.shape[1] != len(data.classes):
            raise Incompatible(f"the reference knows {scores.shape[1]} classes, {data.name} has {len(data.classes)}")
        return scores.astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceLoss:
    """Loss under the reference: rows whose label the audited model finds unlikely.

    Args:
        reference: an audited model.
        below: suspicious is a label whose probability is below this, in (0, 1). 0.05 flags 5 % of honest rows of
            Fashion-MNIST with a reference of 82 % accuracy, 15 % on unequal clients (docs/sanitisation.md).

    Guarantees: looks at each row by itself, so that a poisoned majority changes nothing.

    Does not protect against: poison that the reference knows, because it was trained on it; right labels (clean-label
        poison); rows that an honest but weak reference finds hard are flagged too.

    Cost: one forward pass.

    Source: label-noise filtering by small loss, as Han et al. 2018, arXiv:1804.06872, with a model from outside.
    """

    reference: Reference
    below: float
    name: ClassVar[str] = "reference-loss"

    def __post_init__(self) -> None:
        positive(below=self.below)
        if self.below >= 1:
            raise InvalidValue(f"below must lie in (0, 1), got {self.below}")

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: 1 - the probability of the label."""
        p = self.reference.probabilities(data)
        own = p[np.arange(len(data)), data.labels]
        best = p.argmax(axis=1)
        return Signs(
            1 - own,
            {
                int(row): f"its label has probability {own[row]:.3f} under the reference, which says "
                f"{data.classes[best[row]]!r}"
                for row in np.flatnonzero(own < self.below)
            },
        )
