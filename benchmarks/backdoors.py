"""The table behind docs/backdoors.md: backdoors against walls, static and adaptive attackers, over splits and seeds.

Fashion-MNIST, 20 clients of 600 images, 4 hostile, a perceptron of 25,450 parameters. Every cell is a drill's trial and
is written to the output as soon as it is there; run it again with the same output and it goes on where it stopped.

    python -m benchmarks.backdoors --out runs/backdoors.json               # ten minutes of processor time
    python -m benchmarks.backdoors --out runs/backdoors.json --markdown    # what docs/backdoors.md shows
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ringfort import data
from ringfort.app import build, recipe
from ringfort.audit.drill import Drill
from ringfort.audit.results import NO_ATTACK, Trial
from ringfort.core.dataset import Dataset
from ringfort.core.files import write_atomic
from ringfort.core.randomness import Seeds
from ringfort.data.sources import Split
from ringfort.engine.workers import Emit, Workers

CLIENTS: Final = 20
SEEDS: Final = (1, 2)
ROUNDS: Final = 25
WALLS: Final[tuple[Any, ...]] = ("mean", "nnm | trimmed-mean", "multi-krum", "arc | nnm | trimmed-mean")
DOOR: Final = {"name": "pixel-backdoor", "target": 0, "fraction": 0.5}
STATIC: Final[tuple[Any, ...]] = (
    DOOR,
    {"name": "blended-backdoor", "target": 0, "fraction": 0.5},
    {"name": "distributed-backdoor", "target": 0, "fraction": 0.5, "size": 8},
    {"name": "clean-label-backdoor", "target": 0, "fraction": 1.0, "fade": 0.65, "size": 6},
    {"name": "semantic-backdoor", "source": 7, "target": 9, "fraction": 0.5, "kind": "bright", "share": 0.2},
    [{"name": "model-replacement", "gamma": 5.0}, DOOR],
)
ADAPTIVE: Final[tuple[Any, ...]] = (
    ["projected", DOOR],
    ["constrain-and-scale", DOOR],
    ["neurotoxin", DOOR],
    ["tailored", DOOR],
    [{"name": "sleeper", "wakes": 13}, DOOR],
    [{"name": "chained", "start": 6, "stop": 15}, DOOR],
    [{"name": "ramp", "rounds": 20}, {"name": "model-replacement", "gamma": 5.0}, DOOR],
    [{"name": "redemption", "bad": 3, "good": 2}, DOOR],
)
SPLITS: Final[dict[str, dict[str, Any]]] = {
    "iid": {"by": "iid"},
    "dirichlet": {"by": "dirichlet", "alpha": 0.5, "min_rows": 60},
}


def small(rows: int = 12_000, tested: int = 2_000) -> Split:
    """A fixed sample of Fashion-MNIST."""
    whole = data.load("fashion-mnist")

    def some(part: Dataset, count: int, name: str) -> Dataset:
        return part.take(np.sort(Seeds(0).child("backdoors", name).permutation(len(part))[:count]))

    return Split(some(whole.train, rows, "train"), some(whole.test, tested, "test"), whole.source)


def drill_of(split: Split, by: str, attacks: Iterable[Any]) -> Drill:
    """One setting as a drill."""
    return build.drill(
        recipe.parse(
            {
                "title": by,
                "seed": SEEDS[0],
                "data": {"name": "fashion-mnist", "split": {**SPLITS[by], "clients": CLIENTS}},
                "model": {"name": "numpy-mlp", "hidden": [32]},
                "train": {
                    "rounds": ROUNDS,
                    "steps": 15,
                    "batch": 32,
                    "learning_rate": 0.05,
                    "momentum": 0.9,
                    "evaluate_on": 400,
                },
                "gate": {"max_norm": 1_000.0, "max_examples": 60_000},
                "defence": {"f": CLIENTS // 5, "rule": "nnm | trimmed-mean"},
                "drill": {
                    "hostile_fraction": 0.2,
                    "seeds": list(SEEDS),
                    "walls": list(WALLS),
                    "attacks": list(attacks),
                    "thresholds": {"accuracy_loss": 0.01, "attack_success": 0.1},
                },
            }
        ),
        split,
    )


def cell(drill: Drill, key: tuple[str, str, int]) -> dict[str, Any]:
    """One trial: what the table shows of it."""
    *_, trial = drill.trial(*key)
    assert isinstance(trial, Trial)
    return {
        "accuracy": trial.accuracy,
        "success": trial.attack_success,
        "peak": max((p.attack_success or 0.0 for p in trial.curve), default=0.0),
        "base": trial.base_rates,
        "share": trial.attacker_share,
        "worst_client": trial.worst_client,
        "durability": trial.durability,
        "error": trial.error,
    }


def run(out: Path, workers: int, seeds: Iterable[int]) -> None:
    """Run what is missing in `out`: the first two walls over all seeds, then the others."""
    done: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    split = small()
    drills = {by: drill_of(split, by, (*STATIC, *ADAPTIVE)) for by in SPLITS}
    order = [wall.rule.name for wall in next(iter(drills.values())).walls]
    jobs = [(by, key) for by, drill in drills.items() for key in Drill.keys(drill) if key[2] in set(seeds)]
    jobs = [(by, key) for by, key in jobs if json.dumps([by, *key]) not in done]
    jobs.sort(key=lambda job: (order.index(job[1][1]) // 2, job[1][2]))
    started = time.monotonic()

    def work(task: bytes, _: Emit) -> bytes:
        by, *key = json.loads(task)
        return json.dumps(cell(drills[by], (key[0], key[1], key[2]))).encode()

    if not jobs:
        return
    with Workers(work, workers) as pool:
        for index, final, body in pool.map([json.dumps([by, *key]).encode() for by, key in jobs]):
            if final:
                by, key = jobs[index]
                done[json.dumps([by, *key])] = json.loads(body)
                write_atomic(out, json.dumps(done, indent=0).encode())
                print(by, *key, f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def markdown(done: dict[str, Any]) -> str:
    """A table per split: per attack and wall success and accuracy, mean and range over the seeds that have a result."""
    out: list[str] = []
    for by in SPLITS:
        found = {tuple(json.loads(key)[1:3]) for key in done if json.loads(key)[0] == by}
        attacks = list(dict.fromkeys(json.loads(key)[1] for key in done if json.loads(key)[0] == by))
        if not found:
            continue
        walls = [wall for wall in WALLS if any(list(_found(done, by, attack, wall)) for attack in attacks)]
        heads = ["attack", "base rate", *map(_shown, walls)]
        out += [f"### {by}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for attack in sorted(attacks, key=lambda name: name != NO_ATTACK):
            cells = [_cell(list(_found(done, by, attack, wall))) for wall in walls]
            base = [one["base"][attack] for one in _found(done, by, NO_ATTACK, "mean") if attack in one["base"]]
            out.append("| " + " | ".join([_shown(attack), _percent(base), *cells]) + " |")
        out.append("")
    return "\n".join(out)


def _shown(name: str) -> str:
    return name.replace(" | ", " → ")


def _found(done: dict[str, Any], by: str, attack: str, wall: str) -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        one = done.get(json.dumps([by, attack, wall, seed]))
        if one and not one["error"]:
            yield one


def _cell(seen: list[dict[str, Any]]) -> str:
    if not seen:
        return "-"
    parts = [] if seen[0]["success"] is None else [_percent([one["success"] for one in seen])]
    parts.append(f"({_percent([one['accuracy'] for one in seen])})")
    lasts = [one["durability"] for one in seen if one["durability"] is not None]
    return " ".join([*parts, *([f"lasts {'/'.join(map(str, lasts))}"] if lasts else [])])


def _percent(values: list[float]) -> str:
    """Mean, and range if there is one."""
    if not values:
        return "-"
    shown = [f"{100 * value:.1f}" for value in (float(np.mean(values)), min(values), max(values))]
    return shown[0] if len(values) == 1 else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def main() -> None:
    """Parse the command line; run, or print what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--markdown", action="store_true", help="print the tables of what is in --out")
    given = parser.parse_args()
    if given.markdown:
        print(markdown(json.loads(given.out.read_text())))
        return
    given.out.parent.mkdir(parents=True, exist_ok=True)
    run(given.out, given.workers, given.seeds)


if __name__ == "__main__":
    main()
