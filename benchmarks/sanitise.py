"""What the checks beside the data find, whom they flag wrongly, and what they buy: the tables of docs/sanitisation.md.

    python -m benchmarks.sanitise images --out runs/sanitise-images.json          # minutes
    python -m benchmarks.sanitise tables --out runs/sanitise-tables.json          # a minute
    python -m benchmarks.sanitise federation --out runs/sanitise-federation.json  # minutes

`images`: Fashion-MNIST, one client of about 600 rows per seed. The reference is a perceptron trained on 5,000 test
images, none of them a client's; `poisoned` is trained on the same images with a pixel backdoor in 10 %. `tables`: the
same for digits (clients of 480 rows) and breast cancer (228), reference trained on the test part. `federation`: 20
clients, 4 of them with an infected pipeline, the plain mean.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfort import data
from ringfort.aggregate import Mean
from ringfort.attacks import LabelFlip, PixelBackdoor
from ringfort.audit.scenario import Scenario
from ringfort.client.node import client_names
from ringfort.client.numpy_models import NumpyModel
from ringfort.client.sanitise import (
    Check,
    ConfidentLearning,
    Excess,
    IsolationForest,
    NearDuplicateImages,
    NearDuplicates,
    NeighbourLabels,
    PatchConsensus,
    Reference,
    ReferenceLoss,
    Sanitiser,
    Specification,
    standard,
)
from ringfort.core.dataset import Dataset
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.values import F64
from ringfort.data.partition import IID, Dirichlet, Partition
from ringfort.rounds.fuse import Defence
from ringfort.rounds.gate import Gate

Mix = Callable[[Dataset, np.random.Generator], Dataset]
Flags = NDArray[np.bool_]

CAP: Final = 0.05
FLOOR: Final = 5


def noisy(rows: Dataset, rng: np.random.Generator) -> Dataset:
    """A fifth of the labels, each replaced by another one, uniformly."""
    labels, some = rows.labels.copy(), rng.permutation(len(rows))[: len(rows) // 5]
    classes = len(rows.classes)
    labels[some] = (labels[some] + rng.integers(1, classes, len(some))) % classes
    return rows.with_rows(rows.inputs, labels)


def backdoor(fraction: float, size: int) -> Mix:
    """BadNets towards class 0."""
    return lambda rows, rng: PixelBackdoor(0, fraction, size).poison(rows, rng)


def flip(source: int, target: int) -> Mix:
    """All rows of one class, as another."""
    return lambda rows, rng: LabelFlip(source, target).poison(rows, rng)


def broken(rows: Dataset, rng: np.random.Generator) -> Dataset:
    """One number in each of a tenth of the rows, fifty deviations off."""
    inputs, some = rows.inputs.copy(), rng.permutation(len(rows))[: len(rows) // 10]
    inputs[some, rng.integers(0, inputs.shape[1], len(some))] += 50
    return rows.with_rows(inputs, rows.labels)


def bad_rows(before: Dataset, after: Dataset) -> Flags:
    """(N,) the rows that a mix changed."""
    changed: Flags = (before.inputs != after.inputs).reshape(len(before), -1).any(axis=1)
    changed |= before.labels != after.labels
    return changed


def auc(scores: F64, bad: Flags) -> float | None:
    """The chance that a bad row scores above a good one, ties counting half."""
    k, n = int(bad.sum()), len(bad)
    if not 0 < k < n:
        return None
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    return float((ranks[bad].sum() - k * (k + 1) / 2) / (k * (n - k)))


def trained(model: NumpyModel, rows: Dataset, seeds: Seeds, epochs: int = 20) -> Reference:
    """A reference: SGD over the rows."""
    plan = LocalTraining(epochs * len(rows) // 32, 32, 0.05, 0.9, 1e-4)
    params = model.initial(seeds)
    return Reference(model, params + model.train(params, rows, plan, seeds.child("train")), "0" * 64)


def accuracy(reference: Reference, rows: Dataset) -> float:
    """On these rows."""
    return float(np.mean(reference.probabilities(rows).argmax(axis=1) == rows.labels))


def measure(check: Check, rows: Dataset, bad: Flags) -> dict[str, float | None]:
    """AUC, recall, share of good rows that are flagged, CPU seconds."""
    start = time.process_time()
    signs = check(rows)
    seconds = time.process_time() - start
    return _scored(signs.scores, signs.rows, bad, seconds)


def _scored(scores: F64, rows: Any, bad: Flags, seconds: float) -> dict[str, float | None]:
    flagged = np.zeros(len(bad), dtype=np.bool_)
    flagged[rows] = True
    return {
        "auc": auc(scores, bad),
        "recall": float(flagged[bad].mean()) if bad.any() else None,
        "honest": float(flagged[~bad].mean()) if not bad.all() else None,
        "cpu_s": seconds,
    }


def together(checks: tuple[Check, ...], rows: Dataset, bad: Flags) -> dict[str, float | None]:
    """The standard checks as one sanitiser, and whether it would have asked for a person."""
    start = time.process_time()
    _, report = Sanitiser(checks, CAP, FLOOR, Excess.FLAG)(rows)
    found = _scored(np.zeros(len(rows)), report.set_aside, bad, time.process_time() - start)
    return {**found, "auc": None, "asks": float(bool(report.excess))}


def averaged(found: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Means over clients, of what there is."""
    out: dict[str, float | None] = {"clients": float(len(found))}
    for key in found[0]:
        values = [one[key] for one in found if one[key] is not None]
        out[key] = float(np.mean([v for v in values if v is not None])) if values else None
    honest = [one["honest"] for one in found if one["honest"] is not None]
    out["honest_worst"] = max(honest) if honest else None
    return out


def _run(
    clients: list[tuple[Dataset, dict[str, Check], dict[str, tuple[Check, ...]]]], mixes: dict[str, Mix | None]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, mix in mixes.items():
        for number, (clean, checks, sets) in enumerate(clients):
            rows = clean if mix is None else mix(clean, Seeds(number).child("mix", name))
            bad = bad_rows(clean, rows)
            for what, check in checks.items():
                found.setdefault(name, {}).setdefault(what, []).append(measure(check, rows, bad))
            for what, several in sets.items():
                found.setdefault(name, {}).setdefault(what, []).append(together(several, rows, bad))
        found[name] = {what: averaged(values) for what, values in found[name].items()}
        print(name, flush=True)
    return found


def images(seeds: int, quick: bool) -> dict[str, Any]:
    """Fashion-MNIST; `quick` leaves the checks out that compare a client's rows with one another, and some triggers."""
    split = data.load("fashion-mnist")
    model = NumpyModel(784, 10, (64,))
    mixes: dict[str, Mix | None] = {
        "clean": None,
        "flip 5>7": flip(5, 7),
        "noise 20 %": noisy,
        **{
            f"badnets {f:.0%} {s}x{s}": backdoor(f, s)
            for f, s in ((0.5, 3), (0.1, 1), (0.1, 2), (0.1, 3), (0.1, 5), (0.03, 3))
        },
    }
    if quick:
        mixes = {name: mix for name, mix in mixes.items() if "2x2" not in name and "3% 3x3" not in name}
    ways: dict[str, Partition] = {"iid": IID(100), "dirichlet 0.5": Dirichlet(100, 0.5, 100)}
    clients: dict[str, list[Any]] = {way: [] for way in ways}
    quality: dict[str, list[float]] = {}
    for seed in range(100, 100 + seeds):
        root = Seeds(seed).under("sanitise")
        known = split.test.take(np.sort(root.child("reference").permutation(len(split.test))[:5_000]))
        reference = trained(model, known, root.under("reference"))
        poisoned = trained(model, PixelBackdoor(0, 0.1, 3).poison(known, root.child("poison")), root.under("poisoned"))
        few = trained(model, known.take(np.arange(500)), root.under("few"))
        own = {"reference": reference, "poisoned reference": poisoned, "reference of 500 rows": few}
        for which, one in own.items():
            quality.setdefault(which, []).append(accuracy(one, split.train.take(np.arange(5_000))))
        checks: dict[str, Check] = {f"loss, {which}": ReferenceLoss(one, 0.05) for which, one in own.items()}
        checks |= {
            "neighbours, reference": NeighbourLabels(10, 0.8, reference),
            "neighbours, pixels": NeighbourLabels(10, 0.8),
            "confident, reference": ConfidentLearning(5, reference),
            "patches 2,3,4": PatchConsensus((2, 3, 4), 0.1, 5, 0.02, 0.1),
            "patches 3": PatchConsensus((3,), 0.1, 5, 0.02, 0.1),
            "patches 3, no contrast": PatchConsensus((3,), 0.1, 5, 0.02, 0.0),
            "near duplicates": NearDuplicateImages(3, 0.98),
            "near duplicates, hash alone": NearDuplicateImages(3, 0.0),
        }
        if quick:
            checks = {name: check for name, check in checks.items() if "loss" in name or "patches" in name}
        for way, deal in ways.items():
            parts = sorted(deal(split.train, root), key=lambda part: abs(len(part) - 600))[:1]
            sets = {"standard": standard(split.train, reference), "standard, no reference": standard(split.train, None)}
            clients[way] += [(split.train.take(part), checks, sets) for part in parts]
    return {
        "reference_accuracy": {which: float(np.mean(values)) for which, values in quality.items()},
        **{way: _run(several, mixes) for way, several in clients.items()},
    }


def tables(seeds: int, quick: bool) -> dict[str, Any]:
    """Digits and breast cancer."""
    found = {}
    for name, hidden, clients_each in (("digits", 32, 3), ("breast-cancer", 16, 2)):
        split = data.load(name)
        size, classes = int(np.prod(split.train.input_shape)), len(split.train.classes)
        last = classes - 1
        mixes: dict[str, Mix | None] = {"clean": None, f"flip 0>{last}": flip(0, last), "noise 20 %": noisy}
        if name == "digits":
            mixes |= {f"badnets {f:.0%} {s}x{s}": backdoor(f, s) for f in (0.5, 0.1) for s in (2,)}
        else:
            mixes["broken numbers 10 %"] = broken
        clients: list[Any] = []
        for seed in range(100, 100 + seeds):
            root = Seeds(seed).under("sanitise", name)
            reference = trained(NumpyModel(size, classes, (hidden,)), split.test, root, epochs=40)
            checks: dict[str, Check] = {
                "loss, reference": ReferenceLoss(reference, 0.05),
                "neighbours, reference": NeighbourLabels(10, 0.8, reference),
                "neighbours, inputs": NeighbourLabels(10, 0.8),
                "confident, reference": ConfidentLearning(5, reference),
                "near duplicates": NearDuplicates(0.9999),
            }
            if name == "digits":
                checks["patches 2,3,4"] = PatchConsensus((2, 3, 4), 0.1, 5, 0.02, 0.1)
            else:
                if quick:
                    checks = {}
                checks["isolation forest 0.65"] = IsolationForest(0.65, 100)
                checks["isolation forest 0.6"] = IsolationForest(0.6, 100)
                checks["specification"] = Specification.learn(split.test, margin=0.5)
            sets = {"standard": standard(split.train, reference)}
            clients += [(split.train.take(part), checks, sets) for part in IID(clients_each)(split.train, root)[:2]]
        found[name] = _run(clients, mixes)
    return found


def federation(seeds: int, quick: bool) -> dict[str, Any]:
    """What it buys: accuracy and attack success under the mean, last 5 of 15 rounds, 4 of 20 owners infected."""
    split = data.load("fashion-mnist")
    some = split.train.take(np.arange(12_000))
    model = NumpyModel(784, 10, (64,))
    found: dict[str, Any] = {}
    for seed in range(100, 100 + seeds):
        root = Seeds(seed).under("sanitise", "federation")
        order = root.child("halves").permutation(len(split.test))
        known, test = split.test.take(np.sort(order[:5_000])), split.test.take(np.sort(order[5_000:]))
        reference = trained(model, known, root.under("reference"))
        base = Scenario(
            train=some,
            test=test,
            split=IID(20),
            model=lambda: model,
            training=LocalTraining(30, 32, 0.05, 0.9),
            gate=Gate(max_norm=100.0, max_examples=60_000),
            rounds=15,
            cohort=None,
            deadline_s=None,
            sample=2_000,
            workers=1,
            recipe="benchmark",
        )
        checks = standard(some, reference)
        arms: dict[str, tuple[Scenario, bool]] = {
            "not sanitised": (base, False),
            "sanitised, flag": (replace(base, sanitiser=Sanitiser(checks, CAP, FLOOR, Excess.FLAG)), True),
            "sanitised, stop": (replace(base, sanitiser=Sanitiser(checks, CAP, FLOOR, Excess.STOP)), True),
            "the infected are hostile": (replace(base, sanitiser=Sanitiser(checks, CAP, FLOOR, Excess.FLAG)), False),
        }
        attacks = {"none": None, "badnets": PixelBackdoor(0, 0.5, 3), "flip": LabelFlip(5, 7, 0.5)}
        for arm, (scenario, honest) in arms.items():
            for name, attack in attacks.items():
                if quick and (arm, name) not in _QUICK:
                    continue
                rows: list[Any] = []
                hostile = client_names(20)[:4] if attack else ()
                running = scenario.federation(
                    root,
                    Defence(Mean()),
                    attack=attack,
                    hostile=hostile,
                    owners_are_honest=honest,
                    observe=rows.append,
                )
                points = [state.record.metrics for state in running.states()][-5:]
                clean = [row for row in rows if row.client not in hostile]
                one = {
                    "accuracy": float(np.mean([p["accuracy"] for p in points])),
                    "success": float(np.mean([p["attack_success"] for p in points])) if attack else None,
                    "set_aside_clean": _share(clean),
                    "set_aside_infected": _share([row for row in rows if row.client in hostile]),
                    "clean_clients_stopped": float(sum(not row.trains for row in clean)),
                }
                found.setdefault(f"{name} | {arm}", []).append(one)
                print(seed, arm, name, one, flush=True)
    return {key: {"runs": values, **_means(values)} for key, values in found.items()}


_QUICK: Final = {
    *((arm, name) for arm in ("not sanitised", "sanitised, flag") for name in ("none", "badnets", "flip")),
    ("sanitised, stop", "badnets"),
}


def _share(rows: list[Any]) -> float | None:
    return sum(row.set_aside for row in rows) / sum(row.rows for row in rows) if rows else None


def _means(found: list[dict[str, float | None]]) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for key in found[0]:
        values = [v for one in found if (v := one[key]) is not None]
        out[key] = float(np.mean(values)) if values else None
    return out


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("images", "tables", "federation"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer mixes and checks")
    given = parser.parse_args()
    found = {"images": images, "tables": tables, "federation": federation}[given.part](given.seeds, given.quick)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(given.out)


if __name__ == "__main__":
    main()
