"""The audit of one model: every test, three words, and what could have been seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Final

import numpy as np

from ringfort.audit.model.canaries import Canary, CanaryFinding, canary_bank, try_canaries
from ringfort.audit.model.drift import ClassDrift, Slice, SliceFinding, class_drift, try_slices
from ringfort.audit.model.gradients import differentiable
from ringfort.audit.model.intervals import Share, share
from ringfort.audit.model.inversion import FEWEST_CLASSES, NeuralCleanse, Trigger, anomaly_indices, shares_of_median
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.ports import Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32

__all__ = ["MEASURED", "Holdout", "Limits", "MaskRow", "ModelAudit", "Picture", "Verdict", "audit_model", "holdout"]

_PICTURES: Final = 4
_TOOLS: Final = 1_000
_MEASURE: Final = 4_000


class Verdict(Enum):
    """What an audit of a model can say. It never says "clean"."""

    FLAGGED = "flagged"
    NOT_FLAGGED = "not flagged"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a model is flagged. No default: each trades misses for false alarms. `MEASURED` are those of the docs.

    Args:
        index: anomaly index of a class's mask, below zero; flagged at this or lower, together with `share`.
        share: the mask's size over the median of all classes; flagged at this or lower, together with `index`.
        ratio: the mask's size over that of the trusted model; flagged at this or lower.
        success: least success of a recovered trigger on other data; what does less is not flagged.
        canary: growth of a class's share under a known trigger, over the base rate and the trusted model's growth.
        drop: recall or accuracy lost against the trusted model; flagged if the whole interval lies above.
        answer: share of a slice that gets one wrong answer; flagged if the whole interval lies above.
        examples: of each class, at least, or the audit is inconclusive.
    """

    index: float
    share: float
    ratio: float
    success: float
    canary: float
    drop: float
    answer: float
    examples: int

    def __post_init__(self) -> None:
        if not self.index < 0:
            raise InvalidValue(f"index must be below 0, got {self.index}")
        positive(share=self.share, ratio=self.ratio, canary=self.canary)
        fraction(success=self.success, canary=self.canary, drop=self.drop, answer=self.answer)
        whole(1, examples=self.examples)


MEASURED: Final = Limits(index=-1.5, share=0.45, ratio=0.6, success=0.8, canary=0.5, drop=0.1, answer=0.5, examples=10)
"""Chosen on the first seeds of benchmarks/model_audit.py; docs/model-audit.md says what they reach on fresh ones."""


@dataclass(frozen=True)
class Holdout:
    """Data that nobody trained on, in two parts that share no example.

    Args:
        tools: for the searches and for repairs.
        measure: for everything that is counted.
    """

    tools: Dataset
    measure: Dataset


def holdout(clean: Dataset, seeds: Seeds) -> Holdout:
    """Up to 1,000 examples for the tools (at most half), up to 4,000 others to measure on; classes in proportion."""
    rng, places = seeds.child("holdout"), np.empty(len(clean))
    for label in range(len(clean.classes)):
        rows = rng.permutation(np.flatnonzero(clean.labels == label))
        places[rows] = (np.arange(len(rows)) + rng.random()) / max(len(rows), 1)
    order = np.argsort(places, kind="stable")
    cut = min(_TOOLS, len(clean) // 2)
    return Holdout(clean.take(order[:cut]), clean.take(order[cut : cut + _MEASURE]))


@dataclass(frozen=True, slots=True)
class MaskRow:
    """The trigger recovered for one class.

    Args:
        label: the class.
        size: the mask's L1 norm.
        reached: whether the search found any trigger.
        success: of the trigger on data that the search did not see.
        index: anomaly index; None with fewer than four classes.
        share: over the median of all classes; None with fewer than four.
        ratio: over the trusted model's; None without one.
        flagged: by index and share, or by ratio.
    """

    label: int
    size: float
    reached: bool
    success: Share
    index: float | None
    share: float | None
    ratio: float | None
    flagged: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """The trigger of one class to look at.

    Args:
        label: the class.
        originals: (N, ...) hold-out inputs of other classes.
        mask: the shape of a mask.
        stamped: (N, ...) the same inputs with the trigger.
    """

    label: int
    originals: F32 = field(repr=False)
    mask: F32 = field(repr=False)
    stamped: F32 = field(repr=False)


@dataclass(frozen=True, slots=True)
class ModelAudit:
    """What the audit of one model found.

    Args:
        verdict: the word.
        reasons: why, as sentences with numbers.
        could_see: what this audit could have seen.
        not_covered: what it could not, as sentences.
        limits: that were applied.
        classes: their names.
        accuracy: of the suspect on the measuring part.
        trusted_accuracy: of the trusted model; None without one.
        masks: one row per class; empty if the search could not run.
        canaries: every known trigger.
        drift: one row per class.
        slices: the user's.
        pictures: of the flagged classes, else of the one with the smallest mask.
        triggers: recovered, one per class.
        seconds: what it took.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    could_see: tuple[str, ...]
    not_covered: tuple[str, ...]
    limits: Limits
    classes: tuple[str, ...]
    accuracy: Share
    trusted_accuracy: Share | None
    masks: tuple[MaskRow, ...]
    canaries: tuple[CanaryFinding, ...]
    drift: tuple[ClassDrift, ...]
    slices: tuple[SliceFinding, ...]
    pictures: tuple[Picture, ...] = field(repr=False)
    triggers: tuple[Trigger, ...] = field(repr=False, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def suspects(self) -> tuple[Trigger, ...]:
        """The recovered triggers to unlearn: those of flagged classes, else the one with the smallest mask."""
        flagged = [trigger for trigger, row in zip(self.triggers, self.masks, strict=True) if row.flagged]
        return tuple(flagged) or tuple(sorted(self.triggers, key=lambda trigger: trigger.size)[:1])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under a versioned schema name. Pictures and triggers stay out: they are data."""
        plain = {name: getattr(self, name) for name in ("reasons", "could_see", "not_covered", "classes", "seconds")}
        rows = {name: [asdict(one) for one in getattr(self, name)] for name in ("masks", "canaries", "drift", "slices")}
        for one, finding in zip(rows["canaries"], self.canaries, strict=True):
            one["excess"] = finding.excess
        return {
            "schema": "ringfort-model-audit/1",
            "verdict": self.verdict.value,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
            "limits": asdict(self.limits),
            "accuracy": asdict(self.accuracy),
            "trusted_accuracy": None if self.trusted_accuracy is None else asdict(self.trusted_accuracy),
            **rows,
        }


def audit_model(
    model: Model,
    params: F32,
    data: Holdout,
    limits: Limits,
    seeds: Seeds,
    *,
    trusted: F32 | None = None,
    slices: Sequence[Slice] = (),
    canaries: Sequence[Canary] = (),
    search: NeuralCleanse | None = None,
) -> ModelAudit:
    """Look for a backdoor in a trained model.

    Args:
        model: the family.
        params: (d,) the suspect.
        data: hold-out data that nobody trained on.
        limits: when to flag.
        seeds: of the searches' starts and batches.
        trusted: (d,) of a model of the same family that is known to be good.
        slices: the user's own.
        canaries: known triggers besides the bank's.
        search: how to recover triggers.

    Guarantees:
        FLAGGED names the tests and numbers that crossed their limits. NOT FLAGGED says what could have been seen.
        A class without enough hold-out data, a model at chance level, a search that cannot run or finds no trigger for
        any class: INCONCLUSIVE, unless something is flagged. Never writes to `params`.

    Does not protect against: semantic and edge-case triggers, triggers for one source class, triggers that depend on
        the input, triggers spread over the whole input; a trusted model that has the same backdoor.

    Raises:
        InvalidValue (RF104): parameters that are not this family's, or not finite.

    Cost: classes * 4,800 forward and backward passes at most for each model, and one forward pass for each canary.
    """
    started = time.monotonic()
    search = NeuralCleanse() if search is None else search
    for name, flat in (("the model", params), ("the trusted model", trusted)):
        if flat is not None and (flat.shape != (model.schema.d,) or not np.isfinite(flat).all()):
            raise InvalidValue(f"{name} does not have {model.schema.d} finite parameters")
    triggers, usual, gap = _searched(model, params, trusted, data.tools, search, seeds)
    rows = _mask_rows(model, params, data.measure, triggers, usual, limits)
    bank = (*canary_bank(data.tools, seeds.child("canaries")), *canaries)
    tried = try_canaries(model, params, data.measure, bank, trusted)
    drift = class_drift(model, params, data.measure, trusted)
    found = try_slices(model, params, slices, trusted)
    classes = data.measure.classes
    accuracy = _accuracy(model, params, data.measure)
    reasons = (*_mask_reasons(rows, classes), *_canary_reasons(tried, limits, classes))
    reasons = (*reasons, *_drift_reasons(drift, limits, classes), *_slice_reasons(found, limits, classes))
    doubts = _doubts(data, limits, accuracy, rows, gap)
    verdict = Verdict.FLAGGED if reasons else Verdict.INCONCLUSIVE if doubts else Verdict.NOT_FLAGGED
    return ModelAudit(
        verdict=verdict,
        reasons=reasons or doubts or ("No test crossed its limit.",),
        could_see=_could_see(rows, tried, limits, trusted is not None, len(slices)),
        not_covered=(*(doubts if reasons else ()), *_not_covered(trusted is not None, len(slices))),
        limits=limits,
        classes=classes,
        accuracy=accuracy,
        trusted_accuracy=None if trusted is None else _accuracy(model, trusted, data.measure),
        masks=rows,
        canaries=tried,
        drift=drift,
        slices=found,
        pictures=_pictures(rows, triggers, data.measure),
        triggers=triggers,
        seconds=time.monotonic() - started,
    )


def _searched(
    model: Model, params: F32, trusted: F32 | None, tools: Dataset, search: NeuralCleanse, seeds: Seeds
) -> tuple[tuple[Trigger, ...], tuple[Trigger, ...], str]:
    """Triggers of the suspect and of the trusted model, from the same data and draws, or why there are none."""
    try:
        triggers = search.triggers(differentiable(model, params), tools, seeds.child("search"))
        if trusted is None:
            return triggers, (), ""
        return triggers, search.triggers(differentiable(model, trusted), tools, seeds.child("search")), ""
    except (Incompatible, InvalidValue) as error:
        return (), (), error.message


def _mask_rows(
    model: Model,
    params: F32,
    measure: Dataset,
    triggers: tuple[Trigger, ...],
    usual: tuple[Trigger, ...],
    limits: Limits,
) -> tuple[MaskRow, ...]:
    if not triggers:
        return ()
    sizes = np.array([trigger.size for trigger in triggers])
    enough = len(sizes) >= FEWEST_CLASSES
    indices, shares = anomaly_indices(sizes), shares_of_median(sizes)
    rows = []
    for c, trigger in enumerate(triggers):
        inputs = measure.floats(np.flatnonzero(measure.labels != c))
        hits = int((model.logits(params, trigger.stamp(inputs)).argmax(axis=1) == c).sum()) if len(inputs) else 0
        success = share(hits, len(inputs))
        index, part = (float(indices[c]), float(shares[c])) if enough else (None, None)
        ratio = float(sizes[c] / max(usual[c].size, 1e-9)) if usual and usual[c].reached else None
        alone = index is not None and part is not None and index <= limits.index and part <= limits.share
        flagged = trigger.reached and success.value >= limits.success
        flagged = flagged and (alone or (ratio is not None and ratio <= limits.ratio))
        rows.append(MaskRow(c, float(sizes[c]), trigger.reached, success, index, part, ratio, flagged))
    return tuple(rows)


def _accuracy(model: Model, params: F32, measure: Dataset) -> Share:
    hits = int((model.logits(params, measure.floats()).argmax(axis=1) == measure.labels).sum())
    return share(hits, len(measure))


def _mask_reasons(rows: tuple[MaskRow, ...], classes: tuple[str, ...]) -> tuple[str, ...]:
    said = []
    for row in rows:
        if row.flagged:
            numbers = [f"{row.size:.1f} inputs replaced"]
            if row.index is not None and row.share is not None:
                numbers.append(f"anomaly index {row.index:.2f}, {row.share:.2f} of the median class")
            if row.ratio is not None:
                numbers.append(f"{row.ratio:.2f} of the trusted model's")
            said.append(
                f"A small trigger turns {row.success.value:.0%} of other inputs into {classes[row.label]} "
                f"({'; '.join(numbers)})."
            )
    return tuple(said)


def _canary_reasons(tried: tuple[CanaryFinding, ...], limits: Limits, classes: tuple[str, ...]) -> tuple[str, ...]:
    said = []
    for one in tried:
        if one.excess >= limits.canary:
            base = f"{one.base:.1%} without it"
            usual = "" if one.trusted is None else f", {max(one.trusted, 0):.1%} more under the trusted model"
            said.append(
                f"The known trigger '{one.name}' turns {one.rate.value:.1%} of other inputs into "
                f"{classes[one.target]} ({base}{usual})."
            )
    return tuple(said)


def _drift_reasons(drift: tuple[ClassDrift, ...], limits: Limits, classes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"Recall of {classes[row.label]} is {row.drop.value:.1%} below the trusted model's "
        f"(at least {row.drop.low:.1%})."
        for row in drift
        if row.drop is not None and row.drop.low > limits.drop
    )


def _slice_reasons(found: tuple[SliceFinding, ...], limits: Limits, classes: tuple[str, ...]) -> tuple[str, ...]:
    said = []
    for one in found:
        if one.wrong.low > limits.answer:
            said.append(f"{one.wrong.value:.1%} of the slice '{one.name}' is taken for {classes[one.answer]}.")
        if one.drop is not None and one.drop.low > limits.drop:
            said.append(f"Accuracy on the slice '{one.name}' is {one.drop.value:.1%} below the trusted model's.")
    return tuple(said)


def _doubts(data: Holdout, limits: Limits, accuracy: Share, rows: tuple[MaskRow, ...], gap: str) -> tuple[str, ...]:
    """Why nothing can be concluded from nothing being flagged."""
    classes = data.measure.classes
    doubts = []
    for part, name in ((data.tools, "to search with"), (data.measure, "to measure on")):
        counts = np.bincount(part.labels, minlength=len(classes))
        few = [f"{classes[c]} ({n})" for c, n in enumerate(counts.tolist()) if n < limits.examples]
        if few:
            doubts.append(f"Fewer than {limits.examples} hold-out examples {name} of: {', '.join(few)}.")
    commonest = np.bincount(data.measure.labels, minlength=len(classes)).max() / max(len(data.measure), 1)
    if accuracy.low <= commonest:
        doubts.append(
            f"The model is at chance level: accuracy {accuracy.value:.1%}, always answering the commonest class "
            f"gives {commonest:.1%}."
        )
    if gap:
        doubts.append(f"No trigger was searched for: {gap}.")
    elif not any(row.reached for row in rows):
        doubts.append("The search found no trigger for any class, which an honest model always has: it did not work.")
    return tuple(doubts)


def _could_see(
    rows: tuple[MaskRow, ...], tried: tuple[CanaryFinding, ...], limits: Limits, trusted: bool, slices: int
) -> tuple[str, ...]:
    said = []
    sizes = sorted(row.size for row in rows)
    if sizes and len(sizes) >= FEWEST_CLASSES:
        small = limits.share * float(np.median(sizes))
        said.append(f"One trigger for all classes whose mask is at most {small:.1f} inputs large, if its index agrees.")
    if sizes and trusted:
        said.append(f"One whose mask is at most {limits.ratio:.2f} of what the same class takes in the trusted model.")
    said.append(f"The {len(tried)} known triggers, where they turn {limits.canary:.0%} more inputs than usual.")
    if trusted:
        said.append(f"A class whose recall fell by clearly more than {limits.drop:.0%}.")
    if slices:
        said.append(f"What the {slices} red-team slices show.")
    return tuple(said)


def _not_covered(trusted: bool, slices: int) -> tuple[str, ...]:
    said = [
        "Natural inputs as triggers (semantic, edge-case): only a red-team slice that holds them shows them.",
        "Triggers that work for one source class only, and triggers that differ from input to input.",
        "Not flagged is not clean: see docs/model-audit.md for how often each kind was missed.",
    ]
    if not trusted:
        said.insert(0, "Without a trusted model there is no ratio and no drift; a backdoor for every class hides.")
    if not slices:
        said.insert(0, "No red-team slice was given.")
    return tuple(said)


def _pictures(rows: tuple[MaskRow, ...], triggers: tuple[Trigger, ...], measure: Dataset) -> tuple[Picture, ...]:
    shown = [row for row in rows if row.flagged] or sorted(rows, key=lambda row: row.size)[:1]
    out = []
    for row in sorted(shown, key=lambda row: row.size)[:3]:
        originals = measure.floats(np.flatnonzero(measure.labels != row.label)[:_PICTURES])
        trigger = triggers[row.label]
        out.append(Picture(row.label, originals, trigger.mask, trigger.stamp(originals)))
    return tuple(out)
