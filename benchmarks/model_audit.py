"""The tables of docs/model-audit.md: fresh clean and backdoored models, what each test of the audit says about them.

Thresholds are chosen on the models of the first seeds (`calibration`) and reported on those of later ones (`fresh`).
Every model's raw numbers are written as soon as they are there; run it again with the same output and it goes on.

    python -m benchmarks.model_audit --out runs/model-audit               # about 10 minutes of one core
    python -m benchmarks.model_audit --out runs/model-audit --markdown    # what the docs show
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ringfort import data
from ringfort.attacks import PixelBackdoor
from ringfort.audit.canary.claim import scipy_stats
from ringfort.audit.model.audit import MEASURED
from ringfort.audit.model.canaries import canary_bank, try_canaries
from ringfort.audit.model.drift import class_drift
from ringfort.audit.model.gradients import Differentiable, differentiable
from ringfort.audit.model.intervals import share
from ringfort.audit.model.inversion import NeuralCleanse, anomaly_indices, shares_of_median
from ringfort.audit.model.repair import fine_tuned, pruned, unlearned
from ringfort.audit.model.strip import Strip
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.dataset import Dataset
from ringfort.core.files import write_atomic
from ringfort.core.ports import LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32

ROWS = 6_000
TOOLS, MEASURE = 500, 1_000
FEWEST_SUCCESS, FEWEST_ACCURACY = 0.6, 0.75
PARTS = {"calibration": range(10), "fresh": range(100, 124), "mm-bd": range(200, 204)}
ARCHITECTURES = ("mlp 64", "mlp 128", "mlp 64", "mlp 128", "mlp 64", "cnn 4/32")
KINDS = ("patch", "corner", "size", "checkers", "blend")
Stamp = Callable[[F32], F32]


@cache
def split() -> data.Split:
    """Fashion-MNIST."""
    return data.load("fashion-mnist")


def family(name: str) -> Model:
    """One of the architectures."""
    if name == "cnn 4/32":
        from ringfort.client.torch import cnn

        return cnn((1, 28, 28), 10, channels=4)
    return NumpyModel(784, 10, (int(name.split()[1]),))


@dataclass(frozen=True)
class Case:
    """One model of the zoo: a function of its seed."""

    seed: int
    bad: bool

    @property
    def architecture(self) -> str:
        """In turn."""
        return ARCHITECTURES[self.seed % 6]

    @property
    def federated(self) -> bool:
        """A third of the perceptrons: 10 clients, 3 of them hostile, plain mean. The rest is trained in one place."""
        return self.architecture != "cnn 4/32" and self.seed % 3 == 1

    @property
    def kind(self) -> str:
        """Of trigger."""
        return KINDS[self.seed % 5]

    @property
    def target(self) -> int:
        """The class that triggered inputs shall get."""
        return self.seed * 7 % 10

    def stamp(self) -> Stamp:
        """The trigger."""
        rng = Seeds(self.seed).child("trigger")
        if self.kind == "patch":
            return PixelBackdoor(target=self.target, fraction=0.0).stamp
        if self.kind == "blend":
            noise = rng.random((1, 28, 28), dtype=np.float32)
            return lambda x: np.float32(0.8) * x + np.float32(0.2) * noise
        if self.kind == "corner":
            top, left, patch = *((1, 1), (1, 24), (24, 1))[int(rng.integers(3))], np.ones((3, 3))
        elif self.kind == "size":
            side = (2, 5)[int(rng.integers(2))]
            top, left, patch = 27 - side, 27 - side, np.ones((side, side))
        else:
            top, left = (int(at) for at in rng.integers(0, 24, 2))
            patch = np.indices((4, 4)).sum(axis=0) % 2

        def stamped(x: F32) -> F32:
            out = x.copy()
            out[:, :, top : top + len(patch), left : left + len(patch)] = patch
            return out

        return stamped

    def poisoned(self, some: Dataset, fraction: float, rng: np.random.Generator) -> Dataset:
        """BadNets: a fraction of the examples stamped and relabelled."""
        rows = rng.permutation(len(some))[: round(fraction * len(some))]
        inputs, labels = some.inputs.copy(), some.labels.copy()
        inputs[rows], labels[rows] = self.stamp()(inputs[rows]), self.target
        return some.with_rows(inputs, labels)

    def trained(self) -> tuple[Model, F32]:
        """The family and the trained parameters."""
        seeds, model = Seeds(self.seed), family(self.architecture)
        rows = np.sort(seeds.child("rows").permutation(len(split().train))[:ROWS])
        train = split().train.take(rows)
        train = train.with_rows(train.floats(), train.labels)
        params = model.initial(seeds)
        if not self.federated:
            some = self.poisoned(train, 0.1, seeds.child("poison")) if self.bad else train
            return model, params + model.train(params, some, LocalTraining(600, 50, 0.05, 0.9), seeds.child("train"))
        clients = [train.take(part) for part in np.array_split(seeds.child("split").permutation(ROWS), 10)]
        if self.bad:
            clients[:3] = [self.poisoned(c, 0.5, seeds.child("poison", i)) for i, c in enumerate(clients[:3])]
        plan = LocalTraining(12, 50, 0.05, 0.9)
        for number in range(12):
            steps = [model.train(params, c, plan, seeds.child("train", number, i)) for i, c in enumerate(clients)]
            params = params + np.mean(steps, axis=0, dtype=np.float64).astype(np.float32)
        return model, params

    def success(self, model: Model, params: F32, some: Dataset) -> float:
        """attack_success_rate of the real trigger."""
        others = some.floats(np.flatnonzero(some.labels != self.target))
        return float((model.logits(params, self.stamp()(others)).argmax(axis=1) == self.target).mean())


@cache
def holdout() -> tuple[Dataset, Dataset]:
    """For the tools (searches and repairs), and to measure on."""
    order = Seeds(4).child("holdout").permutation(len(split().test))
    return split().test.take(order[:TOOLS]), split().test.take(order[TOOLS : TOOLS + MEASURE])


@cache
def trusted(architecture: str) -> tuple[F32, tuple[float, ...]]:
    """An unrelated clean model of the same architecture (other data, other weights), and its masks' sizes."""
    seed = next(s for s in range(1_000, 1_006) if ARCHITECTURES[s % 6] == architecture)
    model, params = Case(seed, False).trained()
    triggers = NeuralCleanse().triggers(differentiable(model, params), holdout()[0], Seeds(seed).child("search"))
    return params, tuple(trigger.size for trigger in triggers)


def accuracy(model: Model, params: F32) -> float:
    """On what is measured with."""
    measured = holdout()[1]
    return float((model.logits(params, measured.floats()).argmax(axis=1) == measured.labels).mean())


def examined(case: Case) -> dict[str, Any]:
    """Every raw number about one model."""
    tools, measured = holdout()
    model, params = case.trained()
    out: dict[str, Any] = {"accuracy": accuracy(model, params), "target": case.target, "kind": case.kind}
    out |= {"architecture": case.architecture, "federated": case.federated}
    if case.bad:
        out["success"] = case.success(model, params, measured)
    counted = out["accuracy"] >= FEWEST_ACCURACY and out.get("success", 1.0) >= FEWEST_SUCCESS
    out["counted"] = counted
    if not counted:
        return out
    reference, usual = trusted(case.architecture)
    seeds = Seeds(case.seed).under("audit")
    started = time.process_time()
    gradients = differentiable(model, params)
    triggers = NeuralCleanse().triggers(gradients, tools, seeds.child("search"))
    sizes = np.array([trigger.size for trigger in triggers])
    out["search_s"] = time.process_time() - started
    out["sizes"], out["index"] = sizes.tolist(), anomaly_indices(sizes).tolist()
    out["share"], out["ratio"] = shares_of_median(sizes).tolist(), (sizes / np.array(usual)).tolist()
    smallest = triggers[int(sizes.argmin())]
    inputs = measured.floats(np.flatnonzero(measured.labels != smallest.target))
    said = model.logits(params, smallest.stamp(inputs)).argmax(axis=1)
    out["recovered"] = float((said == smallest.target).mean())
    bank = canary_bank(tools, seeds.child("canaries"))
    with_reference = try_canaries(model, params, measured, bank, reference)
    alone = try_canaries(model, params, measured, bank)
    out["canary"] = max((c.excess, c.name, c.target) for c in with_reference)
    out["canary_alone"] = max((c.excess, c.name, c.target) for c in alone)
    out["drop"] = max(row.drop.low for row in class_drift(model, params, measured, reference) if row.drop)
    out["audit_s"] = time.process_time() - started
    if case.bad:
        out["strip"] = stripped(case, model, params, measured)
        out["repair"] = repaired(case, model, params, triggers, tools, measured)
    return out


def margins(case: Case) -> dict[str, Any]:
    """What MM-BD says about one perceptron; networks would take ten times as long."""
    model, params = case.trained()
    out: dict[str, Any] = {"accuracy": accuracy(model, params), "target": case.target, "kind": case.kind}
    if case.bad:
        out["success"] = case.success(model, params, holdout()[1])
    out["counted"] = out["accuracy"] >= FEWEST_ACCURACY and out.get("success", 1.0) >= FEWEST_SUCCESS
    if out["counted"]:
        started = time.process_time()
        gradients = differentiable(model, params)
        out["mm_bd"] = margin_test(gradients, split().test.input_shape, Seeds(case.seed).child("margins"))
        out["mm_bd_s"] = time.process_time() - started
    return out


def stripped(case: Case, model: Model, params: F32, measured: Dataset) -> dict[str, float]:
    """How often the run-time filter suspects triggered and clean inputs, at a stated 5 %."""
    half = measured.take(np.arange(500))
    filter_ = Strip.fitted(model, params, half, false_alarms=0.05, rng=Seeds(case.seed).child("strip"))
    rest = measured.take(np.arange(500, 800))
    others = rest.floats(np.flatnonzero(rest.labels != case.target))
    return {
        "found": float(filter_.suspicious(case.stamp()(others)).mean()),
        "alarms": float(filter_.suspicious(rest.floats()).mean()),
    }


def repaired(
    case: Case, model: Model, params: F32, triggers: Any, tools: Dataset, measured: Dataset
) -> dict[str, tuple[float, float]]:
    """(success of the real trigger, accuracy) after each repair, given the class with the smallest mask."""
    smallest = min(triggers, key=lambda trigger: trigger.size)
    rng = Seeds(case.seed).child("repair")
    cut = pruned(model, params, tools, smallest).params
    ways = {
        "unlearn once": unlearned(model, params, tools, [smallest], rng, again=0),
        "unlearn": unlearned(model, params, tools, [smallest], rng),
        "fine-tune": fine_tuned(model, params, tools, rng),
        "prune": cut,
        "prune, fine-tune": fine_tuned(model, cut, tools, rng),
    }
    return {name: (case.success(model, made, measured), accuracy(model, made)) for name, made in ways.items()}


def margin_test(
    model: Differentiable, shape: tuple[int, ...], rng: np.random.Generator, starts: int = 150, steps: int = 300
) -> dict[str, Any]:
    """MM-BD at the strength of the paper: the largest margin of every class over the input box, and its p-value.

    Source: Wang et al. 2024, IEEE S&P (arXiv:2205.06900): 150 random starts, 300 steps, SGD of rate 1e-2, momentum 0.2;
    a gamma distribution is fitted to all classes but the largest.
    """
    stats = scipy_stats()
    classes = 10
    targets = np.repeat(np.arange(classes), starts)
    rows = np.arange(len(targets))
    x = rng.random((len(targets), *shape), dtype=np.float32)
    velocity = np.zeros_like(x)

    def errors(scores: F32) -> F32:
        best = scores.copy()
        best[rows, targets] = -np.inf
        out = np.zeros_like(scores)
        out[rows, targets], out[rows, best.argmax(axis=1)] = -1, 1
        return out

    for _ in range(steps):
        scores, pulled = model.pull(x, errors)
        velocity = np.float32(0.2) * velocity + pulled
        x = np.clip(x - np.float32(0.01) * velocity, 0, 1)
    scores, _ = model.pull(x, errors)
    own = scores[rows, targets].copy()
    scores[rows, targets] = -np.inf
    margins = (own - scores.max(axis=1)).reshape(classes, starts).max(axis=1)
    top = int(margins.argmax())
    fitted = stats.gamma(*stats.gamma.fit(np.delete(margins, top), floc=0))
    return {"margins": margins.tolist(), "class": top, "p": float(1 - fitted.cdf(margins[top]) ** classes)}


def run(part: str, out: Path) -> None:
    """Train and examine what is missing in `out`."""
    done: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for seed in sorted(
        PARTS[part], key=lambda seed: Case(seed, False).architecture, reverse=True
    ):  # the fast ones first
        for bad in (False, True):
            key, case = f"{seed} {'bad' if bad else 'clean'}", Case(seed, bad)
            if key in done or (part == "mm-bd" and case.architecture == "cnn 4/32"):
                continue
            started = time.process_time()
            done[key] = margins(case) if part == "mm-bd" else examined(case)
            write_atomic(out, json.dumps(done).encode())
            said = {k: done[key].get(k) for k in ("architecture", "kind", "accuracy", "success", "counted")}
            print(f"{part} {key}: {said}, {time.process_time() - started:.1f} s", file=sys.stderr)


def main() -> None:
    """Parse the command line; run, or print what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--part", choices=PARTS, help="run only this part; all of them if left out")
    parser.add_argument("--markdown", action="store_true", help="print the tables of what is in --out")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    files = {part: given.out / f"{part}.json" for part in PARTS}
    if given.markdown:
        print(markdown({part: json.loads(file.read_text()) for part, file in files.items() if file.exists()}))
        return
    with threadpool_limits(limits=1):
        for part in [given.part] if given.part else PARTS:
            run(part, files[part])


Flag = Callable[[dict[str, Any]], bool]


def _small(one: dict[str, Any]) -> bool:
    pairs = zip(one["index"], one["share"], strict=True)
    found = any(index <= MEASURED.index and part <= MEASURED.share for index, part in pairs)
    return found and bool(one["recovered"] >= MEASURED.success)


def _ratio(one: dict[str, Any]) -> bool:
    return bool(min(one["ratio"]) <= MEASURED.ratio and one["recovered"] >= MEASURED.success)


TESTS: dict[str, Flag] = {
    "anomaly index <= -2 (textbook)": lambda one: min(one["index"]) <= -2,
    "index and share of the median": _small,
    "ratio to a trusted model": _ratio,
    "known triggers, no trusted model": lambda one: one["canary_alone"][0] >= MEASURED.canary,
    "known triggers, trusted model": lambda one: one["canary"][0] >= MEASURED.canary,
    "recall lost": lambda one: one["drop"] > MEASURED.drop,
    "all without a trusted model": lambda one: _small(one) or one["canary_alone"][0] >= MEASURED.canary,
    "all with a trusted model": lambda one: (
        _small(one) or _ratio(one) or one["canary"][0] >= MEASURED.canary or one["drop"] > MEASURED.drop
    ),
}


def markdown(parts: dict[str, dict[str, Any]]) -> str:
    """The tables of the docs."""
    out = []
    for part in ("calibration", "fresh"):
        models = parts.get(part, {})
        counted = {key: one for key, one in models.items() if one["counted"]}
        good = [one for key, one in counted.items() if key.endswith("clean")]
        bad = [one for key, one in counted.items() if key.endswith("bad")]
        out += [f"### {part}: {len(good)} clean, {len(bad)} backdoored, {len(models) - len(counted)} not counted", ""]
        if not good or not bad:
            continue
        out += ["| test | backdoored flagged | clean flagged |", "|---|---|---|"]
        for name, flag in TESTS.items():
            out.append(f"| {name} | {_said(flag, bad)} | {_said(flag, good)} |")
        out.append("")
        out += _ranges(good, bad)
        missed = [
            key for key, one in counted.items() if key.endswith("bad") and not TESTS["all with a trusted model"](one)
        ]
        out.append(f"missed with everything: {missed}")
        out.append(
            f"right class: {sum(one['sizes'].index(min(one['sizes'])) == one['target'] for one in bad)}/{len(bad)}"
        )
        for kind in KINDS:
            of = [one for one in bad if one["kind"] == kind]
            rates = [sum(map(TESTS[name], of)) for name in list(TESTS)[1:]]
            out.append(f"| {kind} | {len(of)} | " + " | ".join(map(str, rates)) + " |")
        out += ["", *_repairs(bad), ""]
        seconds = {a: [one["audit_s"] for one in good + bad if one["architecture"] == a] for a in set(ARCHITECTURES)}
        out += [f"{a}: {np.mean(s):.1f} CPU-s for an audit, {len(s)} models" for a, s in seconds.items() if s]
    tried = [one for one in parts.get("mm-bd", {}).values() if one["counted"]]
    if tried:
        good, bad = ([one for one in tried if ("success" in one) is is_bad] for is_bad in (False, True))
        right = sum(one["mm_bd"]["p"] < 0.05 and one["mm_bd"]["class"] == one["target"] for one in bad)
        out.append(
            f"MM-BD at 5 %: {sum(one['mm_bd']['p'] < 0.05 for one in bad)}/{len(bad)} backdoored ({right} with the "
            f"right class), {sum(one['mm_bd']['p'] < 0.05 for one in good)}/{len(good)} clean, "
            f"{np.mean([one['mm_bd_s'] for one in tried]):.0f} CPU-s each"
        )
    return "\n".join(out)


def _said(flag: Flag, models: list[dict[str, Any]]) -> str:
    hits, n = sum(map(flag, models)), len(models)
    found = share(hits, n)
    return f"{hits}/{n} ({100 * found.low:.0f}-{100 * found.high:.0f} %)"


def _ranges(good: list[dict[str, Any]], bad: list[dict[str, Any]]) -> list[str]:
    rows = ["| smallest over the classes | clean | backdoored |", "|---|---|---|"]
    for name in ("index", "share", "ratio"):
        ends = [(min(min(one[name]) for one in some), max(min(one[name]) for one in some)) for some in (good, bad)]
        rows.append(f"| {name} | " + " | ".join(f"{low:.2f} to {high:.2f}" for low, high in ends) + " |")
    for name in ("canary", "canary_alone"):
        spans = [(min(one[name][0] for one in some), max(one[name][0] for one in some)) for some in (good, bad)]
        rows.append(f"| {name} (largest) | " + " | ".join(f"{low:.2f} to {high:.2f}" for low, high in spans) + " |")
    return [*rows, ""]


def _repairs(bad: list[dict[str, Any]]) -> list[str]:
    rows = [
        "| repair | success after, mean (largest) | accuracy lost, mean | under 5 % for at most 2 points |",
        "|---|---|---|---|",
    ]
    rows.append(f"| none | {np.mean([o['success'] for o in bad]):.2f} ({max(o['success'] for o in bad):.2f}) | 0.0 | |")
    for name in bad[0]["repair"]:
        after = [(*one["repair"][name], one["accuracy"]) for one in bad if name in one["repair"]]
        lost = [before - now for _, now, before in after]
        fine = sum(rate < 0.05 and now >= before - 0.02 for rate, now, before in after)
        rates = [rate for rate, _, _ in after]
        rows.append(
            f"| {name} | {np.mean(rates):.2f} ({max(rates):.2f}) | {100 * np.mean(lost):.1f} | {fine}/{len(after)} |"
        )
    strip = [one["strip"] for one in bad]
    found, alarms = (np.mean([one[name] for one in strip]) for name in ("found", "alarms"))
    rows.append(f"STRIP at 5 %: {found:.2f} of triggered inputs, {alarms:.2f} of clean ones")
    return rows


if __name__ == "__main__":
    main()
