"""Rounds per minute of the in-process engine beside a bare PyTorch loop that does the same work.

Both train the recipe's 20 clients on the same minibatches and average their updates; the engine also encodes, hashes,
checks, aggregates through a rule and makes records. The two take turns in one process on one thread, so that the ratio
holds when the machine's speed drifts, and their models are compared after the first round: it is the same work.

    python -m benchmarks.rounds --out runs/bench-rounds.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits

from ringfort import data
from ringfort.aggregate import Mean
from ringfort.app import build, recipe
from ringfort.audit.scenario import Scenario
from ringfort.client import torch as models
from ringfort.client.batches import minibatches
from ringfort.core.files import write_atomic
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32
from ringfort.rounds.fuse import Defence

SEEDS = Seeds(1)
TARGET = 1.15


def bare_rounds(scenario: Scenario, ours: models.TorchModel, start: F32) -> Iterator[dict[str, torch.Tensor]]:
    """Federated averaging as one would write it by hand: state dicts, an optimiser per client, indexed batches."""
    model, plan = ours.build(), scenario.training
    state = {key: torch.tensor(value) for key, value in ours.schema.views(start).items()}
    parts = [scenario.train.take(rows) for rows in scenario.parts(SEEDS)]
    clients = [(f"client-{i:02}", torch.from_numpy(p.inputs), torch.from_numpy(p.labels)) for i, p in enumerate(parts)]
    number = 0
    while True:
        number += 1
        total = {key: torch.zeros_like(value) for key, value in state.items()}
        for client, inputs, labels in clients:
            model.load_state_dict(state)
            optimiser = torch.optim.SGD(model.parameters(), lr=plan.learning_rate, momentum=plan.momentum)
            rng = SEEDS.child("train", number, client)
            rng.integers(2**62)  # the engine draws torch's seed here
            for rows in minibatches(len(labels), plan, rng):
                chosen = torch.from_numpy(rows)
                optimiser.zero_grad()
                loss = F.cross_entropy(model(inputs[chosen].float() * (1 / 255)), labels[chosen])
                torch.autograd.backward(loss)
                optimiser.step()
            for key, value in model.state_dict().items():
                total[key] += value
        state = {key: value / len(clients) for key, value in total.items()}
        yield state


def compare(name: str, rounds: int) -> dict[str, Any]:
    """Let the two take turns for `rounds` rounds; medians, and the median of the ratios round by round."""
    read = recipe.read(
        Path("recipes/fashion.toml"), [f"model.name={name}", "train.workers=1", f"train.rounds={rounds}"]
    )
    scenario = build.scenario(read, data.load(read.data.name))
    federation = replace(scenario.federation(SEEDS, Defence(Mean())), evaluate=None)
    model = federation.model
    assert isinstance(model, models.TorchModel)
    ours = iter(federation.states())
    state = next(ours)
    theirs = bare_rounds(scenario, model, state.params)
    times: list[tuple[float, float]] = []
    gap = 0.0
    for number in range(rounds):
        before = time.perf_counter()
        if number % 2:
            bare = next(theirs)
            middle = time.perf_counter()
            state = next(ours)
            times.append((time.perf_counter() - middle, middle - before))
        else:
            state = next(ours)
            middle = time.perf_counter()
            bare = next(theirs)
            times.append((middle - before, time.perf_counter() - middle))
        if number == 0:  # later rounds amplify the last bits of the first
            mine = model.schema.views(state.params)
            gap = max(float(np.abs(mine[key] - value.numpy()).max()) for key, value in bare.items())
            assert gap < 1e-4, f"the two loops do not do the same work: parameters differ by {gap:.3g}"
    counted = times[2:]
    ratio = statistics.median(a / b for a, b in counted)
    return {
        "model": name,
        "d": model.schema.d,
        "clients": len(scenario.parts(SEEDS)),
        "steps": scenario.training.steps,
        "batch": scenario.training.batch,
        "rounds": len(counted),
        "ringfort_rounds_per_minute": 60 / statistics.median(a for a, _ in counted),
        "bare_rounds_per_minute": 60 / statistics.median(b for _, b in counted),
        "time_ratio": ratio,
        "target": TARGET,
        "reached": ratio <= TARGET,
        "parameter_difference_after_one_round": gap,
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--rounds", type=int, default=14, help="rounds per model, of which two warm up")
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        results = [compare(name, options.rounds) for name in ("mlp", "cnn")]
    for r in results:
        print(
            f"{r['model']:4} {r['ringfort_rounds_per_minute']:7.1f} rounds/min, bare loop "
            f"{r['bare_rounds_per_minute']:7.1f}; time ratio {r['time_ratio']:.2f} (target at most {TARGET}), "
            f"parameters differ by {r['parameter_difference_after_one_round']:.1g} after one round"
        )
    machine = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, json.dumps({"rounds": results, "versions": machine}, indent=2).encode())


if __name__ == "__main__":
    main()
