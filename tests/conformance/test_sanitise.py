"""Every check passes the conformance suite on what it is made for, and each sabotaged twin is caught by it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from ringfort import data
from ringfort.attacks import PixelBackdoor
from ringfort.client.numpy_models import NumpyModel
from ringfort.client.sanitise import (
    CHECKS,
    ConfidentLearning,
    ExactDuplicates,
    Excess,
    IsolationForest,
    NearDuplicateImages,
    NearDuplicates,
    NeighbourLabels,
    PatchConsensus,
    PhraseConsensus,
    Reference,
    ReferenceLoss,
    Sanitiser,
    Signs,
    Specification,
    ToneConsensus,
)
from ringfort.core.dataset import Dataset
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.testing.sanitisers import check_check, check_sanitiser, sanitiser_of

DIGITS, CANCER = data.load("digits"), data.load("breast-cancer")
SCANS = DIGITS.train.take(np.arange(400))
TABLE = CANCER.train.take(np.arange(300))


def reference():
    model = NumpyModel(64, 10, (32,))
    params = model.initial(Seeds(0))
    plan = LocalTraining(steps=450, batch=32, learning_rate=0.05, momentum=0.9)
    return Reference(model, params + model.train(params, DIGITS.test, plan, Seeds(0).child("t")), "0" * 64)


AUDITED = reference()


def picked(rows, rng, share=0.1):
    bad = np.zeros(len(rows), dtype=bool)
    bad[rng.permutation(len(rows))[: int(share * len(rows))]] = True
    return bad


def mislabelled(rows, rng):
    bad = picked(rows, rng)
    labels = np.where(
        bad, (rows.labels + rng.integers(1, len(rows.classes), len(rows))) % len(rows.classes), rows.labels
    )
    return rows.with_rows(rows.inputs, labels), bad


def broken(rows, rng):
    bad = picked(rows, rng)
    inputs = rows.inputs.copy()
    inputs[bad] += rng.choice([-50, 50], inputs[bad].shape).astype(np.float32)
    return rows.with_rows(inputs, rows.labels), bad


def doubled(rows, rng, shift=0.0):
    """The last tenth becomes copies of the first rows: which of the two is found does not matter, one must be."""
    n = len(rows) // 10
    order = np.concatenate([np.arange(len(rows) - n), np.arange(n)])
    copies = rows.take(order.astype(np.int64))
    inputs = copies.inputs.copy()
    inputs[-n:] += np.float32(shift) * rng.random(inputs[-n:].shape, dtype=np.float32)
    return copies.with_rows(inputs, copies.labels), np.arange(len(rows)) >= len(rows) - n


def nearly_doubled(rows, rng):
    return doubled(rows, rng, shift=1e-3)


def stamped(rows, rng):
    after = PixelBackdoor(0, 0.2, 2).poison(rows, rng)
    return after, (after.inputs != rows.inputs).reshape(len(rows), -1).any(axis=1) | (after.labels != rows.labels)


def texts(n=400):
    """Word counts: some words mark a class, the rest are common to all."""
    rng = Seeds(3).child("texts")
    labels = rng.integers(0, 2, n)
    rates = np.full((2, 200), 0.05)
    rates[0, :10] = rates[1, 10:20] = 0.4
    return Dataset("texts", rng.poisson(rates[labels]).astype(np.uint8), labels, ("no", "yes"))


def with_phrase(rows, rng):
    bad = picked(rows, rng, 0.15)
    inputs = rows.inputs.copy()
    inputs[np.ix_(bad, [190, 191, 192])] = 1
    return rows.with_rows(inputs, np.where(bad, 1, rows.labels)), bad


def series(n=300):
    rng = Seeds(4).child("series")
    walk = np.cumsum(rng.standard_normal((n, 256)), axis=1).astype(np.float32)
    labels = rng.integers(0, 2, n)
    return Dataset("series", walk * np.where(labels, 2, 1)[:, None].astype(np.float32), labels, ("calm", "wild"))


def with_tone(rows, rng):
    bad = picked(rows, rng, 0.15)
    time = np.arange(rows.inputs.shape[1])
    tone = 3 * np.sin(2 * np.pi * 0.21 * time + rng.uniform(0, 6, (len(rows), 1)))
    return rows.with_rows((rows.inputs + bad[:, None] * tone).astype(np.float32), np.where(bad, 1, rows.labels)), bad


MADE_FOR = [
    (Specification.learn(TABLE, margin=0.1), TABLE, broken, 0.0),
    (ExactDuplicates(), TABLE, doubled, 0.0),
    (NearDuplicates(0.9999), TABLE, nearly_doubled, 0.0),
    (NearDuplicateImages(3, 0.99), SCANS, nearly_doubled, 0.02),
    (ReferenceLoss(AUDITED, 0.05), SCANS, mislabelled, 0.03),
    (NeighbourLabels(10, 0.8), SCANS, mislabelled, 0.03),
    (NeighbourLabels(10, 0.8, AUDITED), SCANS, mislabelled, 0.05),
    (ConfidentLearning(5), SCANS, mislabelled, 0.06),
    (ConfidentLearning(5, AUDITED), SCANS, mislabelled, 0.06),
    (PatchConsensus((2,), 0.1, 5, 0.02, 0.1), SCANS, stamped, 0.5),
    (PhraseConsensus(3, 0.1, 5, 0.02, 0.7), texts(), with_phrase, 0.0),
    (ToneConsensus(15.0, 0.1, 5, 0.05), series(), with_tone, 0.03),
    (IsolationForest(0.6, 100), TABLE, broken, 0.1),
]


@pytest.mark.parametrize(("check", "clean", "poison", "honest"), MADE_FOR, ids=lambda value: getattr(value, "name", ""))
def test_checks_do_what_they_are_made_for(check, clean, poison, honest):
    recall = 0.7 if check.name == "confident-learning" else 0.8
    check_check(check, clean, poison, min_recall=recall, max_honest=honest)


def test_every_registered_check_is_tested_here():
    assert {check.name for check, *_ in MADE_FOR} == {*CHECKS, "specification"}


DOC = """A twin.

    Guarantees: none.

    Does not protect against: anything.

    Cost: none.
    """


class Base:
    """Inherited by twins."""

    name = "twin"

    def __call__(self, rows):
        return self.bent(NeighbourLabels(10, 0.8)(rows), rows)

    def bent(self, signs, rows):
        return signs


def twin(kind):
    kind.__doc__ = DOC
    return dataclass(frozen=True)(kind)


@twin
class Sound(Base):
    pass


@twin
class FlagsNothing(Base):
    def bent(self, signs, rows):
        return Signs(signs.scores, {})


@twin
class FlagsEverybody(Base):
    def bent(self, signs, rows):
        return Signs(signs.scores, dict.fromkeys(range(len(rows)), "it was there"))


@twin
class FlagsTheNextRow(Base):
    def bent(self, signs, rows):
        return Signs(signs.scores, {(row + 1) % len(rows): note for row, note in signs.notes.items()})


@twin
class NotesARowTooMany(Base):
    def bent(self, signs, rows):
        return Signs(signs.scores, {**signs.notes, len(rows): "beyond the end"})


@twin
class ScoresNaN(Base):
    def bent(self, signs, rows):
        return Signs(signs.scores * np.nan, signs.notes)


@twin
class ShortOfScores(Base):
    def bent(self, signs, rows):
        return Signs(signs.scores[:-1], signs.notes)


@twin
class WritesToTheRows(Base):
    def bent(self, signs, rows):
        rows.labels[list(signs.notes)] = 0
        return signs


@twin
class TossesACoin(Base):
    def bent(self, signs, rows):
        return Signs(signs.scores + np.random.default_rng().random(len(rows)), signs.notes)


@twin
class NeedsManyRows(Base):
    def bent(self, signs, rows):
        if len(rows) < 10:
            raise ValueError("too few")
        return signs


CAUGHT = {
    FlagsNothing: "it finds 0%",
    FlagsEverybody: "clean rows",
    FlagsTheNextRow: "of the spoilt rows",
    NotesARowTooMany: "do not exist",
    ScoresNaN: "not finite",
    ShortOfScores: "one score per row",
    WritesToTheRows: "wrote to the data",
    TossesACoin: "other scores",
    NeedsManyRows: "on 0 rows",
}


def fresh():
    """Rows that a twin may spoil."""
    return SCANS.with_rows(SCANS.inputs.copy(), SCANS.labels.copy())


def test_the_base_of_the_twins_is_sound():
    check_check(Sound(), fresh(), mislabelled)


@pytest.mark.parametrize("kind", CAUGHT, ids=lambda kind: kind.__name__)
def test_twins_are_caught(kind):
    with pytest.raises(AssertionError, match=CAUGHT[kind]):
        check_check(kind(), fresh(), mislabelled)


# --- sanitisers

DIRTY, _ = mislabelled(SCANS, Seeds(5).child("dirty"))
DIRTY = DIRTY.take(np.concatenate([np.arange(400), [3, 3, 9]]).astype(np.int64))
CHECKS_USED = (ExactDuplicates(), ReferenceLoss(AUDITED, 0.05))


@pytest.mark.parametrize("cap", [0.0, 0.05, 1.0])
def test_our_sanitiser(cap):
    check_sanitiser(sanitiser_of(CHECKS_USED, cap, 0), DIRTY)


class Keeps:
    """A sanitiser that keeps what it should set aside: bends the result of ours."""

    def __init__(self, bend):
        self.bend = bend

    def __call__(self, excess):
        return lambda rows: self.bend(*Sanitiser(CHECKS_USED, 0.0, 0, excess)(rows), rows, excess)


BENT = {
    "keeps a suspicious row": (
        lambda kept, report, rows, excess: (np.sort(np.append(kept, report.set_aside[0])), report),
        "not all rows",
    ),
    "loses a row": (lambda kept, report, rows, excess: (kept[1:], report), "not all rows"),
    "gives no reason": (
        lambda kept, report, rows, excess: (
            kept,
            replace(report, suspects=tuple(replace(s, reasons=()) for s in report.suspects)),
        ),
        "without a reason",
    ),
    "sets the first row aside": (
        lambda kept, report, rows, excess: (
            kept[1:],
            replace(
                report,
                suspects=(*report.suspects, replace(report.suspects[0], row=int(kept[0]))),
                after=(*report.after[:-1], report.after[-1] - 1),
            ),
        ),
        "order of rows",
    ),
}


@pytest.mark.parametrize("what", BENT)
def test_bent_sanitisers_are_caught(what):
    bend, said = BENT[what]
    with pytest.raises(AssertionError, match=said):
        check_sanitiser(Keeps(bend), DIRTY)


def test_a_sanitiser_that_never_stops_is_caught():
    with pytest.raises(AssertionError, match="a person must look"):
        check_sanitiser(lambda excess: Sanitiser(CHECKS_USED, 0.0, 0, Excess.FLAG), DIRTY)
