"""What the watch finds, whom it flags wrongly, and what it costs: the tables of docs/detection.md.

    python -m benchmarks.watch detection --out runs/watch-detection.json   # minutes
    python -m benchmarks.watch honest --out runs/watch-honest.json         # minutes
    python -m benchmarks.watch loop --out runs/watch-loop.json             # minutes
    python -m benchmarks.watch cost --out runs/watch-cost.json             # 2 GB of memory

`detection`: digits, 20 clients, Dirichlet(0.5), four attackers that wake up in round 31 of 60, a trimmed mean. AUC of
each score's mean, and of each own-history detector's last p-value, over rounds 31 to 60, per federation, then averaged.
`honest`: the same without attackers for 200 rounds; the share of clients ever flagged. `loop`: whole federations with
the watch in the loop (`rounds.Federation`): 200 honest rounds, and 60 rounds with four sleepers that wake up in round
31, with and without the watch. `cost`: processor time, the same updates with and without the watch in turn.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ringfort import data
from ringfort.aggregate import NNM, Chain, Mean, MultiKrum, TrimmedMean
from ringfort.client import LocalClient
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.context import EMPTY, Memory, RoundContext
from ringfort.core.dataset import Dataset
from ringfort.core.parallel import limit
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, Action, ClientId, client_id
from ringfort.core.views import Rows
from ringfort.core.wire import Broadcast, encode_update, open_frame
from ringfort.data.partition import Dirichlet
from ringfort.detect import (
    Calibrated,
    Calibration,
    CosineToCentre,
    Drift,
    EnergyProfile,
    ExceededThresholds,
    InCohort,
    LastLayer,
    LayerShares,
    Likeness,
    Neighbours,
    Norm,
    NormHugging,
    OwnPast,
    Policy,
    Predicted,
    SignAgreement,
    Spectral,
    Together,
    Watch,
    recommended,
)
from ringfort.detect.detector import joined
from ringfort.engine.in_process import InProcess
from ringfort.rounds import Defence, Federation, Gate, fuse
from ringfort.rounds.dossier import dossiers

CLIENTS: Final = 20
HOSTILE: Final = tuple(range(4))
WAKES: Final = 30
ATTACKS: Final = ("sign-flip", "scaling", "label-flip", "backdoor", "pgd-at-median-norm", "careful-pgd")
MODEL: Final = NumpyModel(64, 10, (16,))
PLAN: Final = LocalTraining(steps=8, batch=16, learning_rate=0.1)
NAMES: Final = tuple(client_id(f"c{i:02}") for i in range(CLIENTS))


def spans() -> dict[str, tuple[int, int]]:
    """Where the model's parameters lie."""
    flat = np.arange(MODEL.schema.d, dtype=np.float32)
    return {name: (int(v.min()), int(v.max()) + 1) for name, v in MODEL.schema.views(flat).items()}


def scores() -> tuple[Any, ...]:
    """Every score of the package."""
    where = spans()
    head = LastLayer(where["layer01.weight"], where["layer01.bias"], classes_first=False)
    few = (Norm(), CosineToCentre(), Neighbours(), Spectral(), SignAgreement())
    layers = LayerShares(tuple(sorted(where.values())))
    return (
        *(*few, NormHugging(), Likeness(), layers, EnergyProfile(head), ExceededThresholds(head), Predicted()),
        Together(few),
    )


def federation(seed: int, rounds: int, attack: str | None) -> Iterator[tuple[Rows, RoundContext]]:
    """The rounds of one federation, as a server sees them."""
    seeds = Seeds(seed).under("watch")
    train = data.load("digits").train
    parts = Dirichlet(CLIENTS, 0.5, 16)(train, seeds)
    clean = [train.take(part) for part in parts]
    poisoned = {i: _poisoned(clean[i], attack, seeds.under("poison", i), i) for i in HOSTILE}
    params = MODEL.initial(seeds)
    for number in range(1, rounds + 1):
        awake = attack is not None and number > WAKES
        rows = np.stack(
            [
                MODEL.train(
                    params, poisoned[i] if awake and i in HOSTILE else one, PLAN, seeds.child("train", number, i)
                )
                for i, one in enumerate(clean)
            ]
        )
        if awake:
            _bend(rows, attack, seeds.child("bend", number))
        view = Rows(NAMES, rows)
        yield view, RoundContext(number, seeds.under("round", number))
        params = params + TrimmedMean(f=4)(view).delta


def _poisoned(own: Dataset, attack: str | None, seeds: Seeds, who: int) -> Dataset:
    """One trigger for all and half of the examples, or, carefully, a trigger and a target each and a tenth of them."""
    inputs, labels = own.inputs.copy(), own.labels.copy()
    careful = attack == "careful-pgd"
    if attack == "label-flip":
        labels = 9 - labels
    elif attack in ("backdoor", "pgd-at-median-norm", "careful-pgd"):
        some = seeds.child().permutation(len(own))[: len(own) // (10 if careful else 2)]
        flat = inputs.reshape(len(inputs), -1)
        shift = 9 * who if careful else 0
        for pixel in (0, 7, 8, 15):
            flat[some, (pixel + shift) % 64] = inputs.max()
        labels[some] = who if careful else 0
    return own.with_rows(inputs, labels)


def _bend(rows: F32, attack: str | None, rng: np.random.Generator) -> None:
    hostile, lengths = list(HOSTILE), np.linalg.norm(rows, axis=1)
    if attack == "sign-flip":
        rows[hostile] *= -1
    elif attack == "scaling":
        rows[hostile] *= 5
    elif attack == "pgd-at-median-norm":
        rows[hostile] *= (np.median(np.delete(lengths, hostile)) / lengths[hostile])[:, None]
    elif attack == "careful-pgd":
        rows[hostile] *= (rng.choice(np.delete(lengths, hostile), len(hostile)) / lengths[hostile])[:, None]


def detection(seeds: int) -> dict[str, Any]:
    """AUC per detector and attack; rounds until the p-value of own-history detectors is at most 0.05."""
    found: dict[str, dict[str, list[float]]] = {}
    first: dict[str, dict[str, list[float]]] = {}
    together = scores()[-1]
    calibration = Calibration.of(together, 10, (federation(300 + pilot, 60, None) for pilot in range(6)))
    for attack in ATTACKS:
        for seed in range(seeds):
            cohort = [InCohort(score) for score in scores()]
            history: list[Any] = [OwnPast(score, drift=2.0) for score in scores()] + [
                Drift(Norm()),
                Drift(CosineToCentre()),
            ]
            history.append(Calibrated(together, calibration))
            memories: dict[str, Memory] = {}
            sums = {one.name: np.zeros(CLIENTS) for one in cohort}
            last = {one.name: np.ones(CLIENTS) for one in history}
            flagged = {one.name: np.full(CLIENTS, np.inf) for one in history}
            for view, context in federation(seed, 60, attack):
                for one in (*cohort, *history):
                    seen = one.inspect(view, replace(context, memory=memories.get(one.name, EMPTY)))
                    memories[one.name] = seen.memory
                    for e in seen.evidence:
                        i = NAMES.index(e.client)
                        if one.name in last:
                            last[one.name][i] = e.p_value
                            if e.p_value <= 0.05 and context.round > WAKES:
                                flagged[one.name][i] = min(flagged[one.name][i], context.round - WAKES)
                        elif context.round > WAKES:
                            sums[one.name][i] -= e.p_value
            for name, values in [*sums.items(), *((name, -p) for name, p in last.items())]:
                found.setdefault(name, {}).setdefault(attack, []).append(_auc(values))
            for name, when in flagged.items():
                first.setdefault(name, {}).setdefault(attack, []).extend(float(x) for x in when[list(HOSTILE)])
    waits = {
        name: {
            attack: {"found": float(np.mean(np.isfinite(w))), "median_rounds": float(np.median(w))}
            for attack, w in per.items()
        }
        for name, per in first.items()
    }
    return {
        "seeds": seeds,
        "auc": {
            n: {a: [float(np.mean(v)), float(np.min(v)), float(np.max(v))] for a, v in p.items()}
            for n, p in found.items()
        },
        "first": waits,
    }


def _auc(values: Any) -> float:
    bad = np.zeros(CLIENTS, dtype=bool)
    bad[list(HOSTILE)] = True
    differences = values[bad][:, None] - values[~bad]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def honest(seeds: int, rounds: int = 200) -> dict[str, Any]:
    """The share of honest clients whose p-value is ever so small, per detector."""
    levels = (0.01, 0.05, 0.1)
    federations = [list(federation(100 + seed, rounds, None)) for seed in range(seeds)]
    smallest: dict[str, list[float]] = {}
    together = scores()[-1]
    for k, rounds_of in enumerate(federations):
        pilots = [one for i, one in enumerate(federations) if i != k]
        detectors: list[Any] = [
            *(OwnPast(score, drift=2.0) for score in scores()),
            Drift(Norm()),
            Drift(CosineToCentre()),
        ]
        detectors += [InCohort(together), Calibrated(together, Calibration.of(together, 10, pilots))]
        for one in detectors:
            memory, low = EMPTY, dict.fromkeys(NAMES, 1.0)
            for view, context in rounds_of:
                seen = one.inspect(view, replace(context, memory=memory))
                memory = seen.memory
                for e in seen.evidence:
                    low[e.client] = min(low[e.client], e.p_value)
            smallest.setdefault(one.name, []).extend(low.values())
    return {
        "clients": seeds * CLIENTS,
        "rounds": rounds,
        "ever": {name: {str(a): float(np.mean(np.array(low) <= a)) for a in levels} for name, low in smallest.items()},
    }


@dataclass(frozen=True)
class Sleeper:
    """A client that is honest until it wakes up, and then trains on what it poisoned and bends what it sends."""

    inner: LocalClient
    poisoned: LocalClient
    attack: str

    @property
    def client(self) -> ClientId:
        """Its name."""
        return self.inner.client

    def handle(self, stage: str, payload: bytes) -> bytes:
        """Answer one message of the server."""
        to = Broadcast.decode(payload, MODEL.schema)
        if to.round <= WAKES:
            return self.inner.handle(stage, payload)
        header, body = open_frame(
            self.poisoned.handle(stage, payload), "update", max_body_bytes=MODEL.schema.encoded_bytes
        )
        factor = {"sign-flip": -1.0, "scaling": 5.0}.get(self.attack, 1.0)
        delta = (MODEL.schema.decode(body) * np.float32(factor)).astype(np.float32)
        return encode_update(self.client, to, delta, header.num_examples, MODEL.schema)


def piloted(seed: int, rounds: int, rule: Any, alpha: float) -> Watch:
    """The calibrated watch after five pilots with other seeds and splits: what `{ name = "pilots" }` makes."""
    strange = Together((Norm(), CosineToCentre(), Neighbours(), Spectral()))
    seen = (_pilot(1_000 + 10 * seed + pilot, rounds, rule) for pilot in range(5))
    calibrated = Calibrated(strange, Calibration.of(strange, 10, seen))
    return Watch((calibrated, InCohort(strange)), Policy(alpha=alpha, reputation="together"))


def _pilot(seed: int, rounds: int, rule: Any) -> Iterator[tuple[Any, RoundContext]]:
    """A pilot's rounds; its updates are fused by the same rule."""
    seeds = Seeds(seed).under("loop")
    train = data.load("digits").train
    parts = Dirichlet(CLIENTS, 0.5, 16)(train, seeds)
    params = MODEL.initial(seeds.under("model"))
    clients = [train.take(rows) for rows in parts]
    for number in range(1, rounds + 1):
        rows = [MODEL.train(params, one, PLAN, seeds.child("train", number, i)) for i, one in enumerate(clients)]
        view = Rows(NAMES, np.stack(rows))
        yield view, RoundContext(number, seeds.under("round", number))
        params = params + rule(view).delta


def in_loop(seed: int, rounds: int, rule: Any, watch: Watch | None, attack: str | None) -> dict[str, Any]:
    """One federation: accuracy, the backdoor's success, and who was ever quarantined."""
    seeds = Seeds(seed).under("loop")
    split = data.load("digits")
    parts = Dirichlet(CLIENTS, 0.5, 16)(split.train, seeds)
    clients: list[Any] = []
    for i, rows in enumerate(parts):
        honest_one = LocalClient(NAMES[i], MODEL, split.train.take(rows), PLAN, seeds)
        if attack is not None and i in HOSTILE:
            poisoned = replace(honest_one, data=_poisoned(honest_one.data, attack, seeds.under("poison", i), i))
            clients.append(Sleeper(honest_one, poisoned, attack))
        else:
            clients.append(honest_one)
    federation = Federation(
        InProcess(clients),
        MODEL,
        Defence(rule, watch),
        Gate(max_norm=1e6, max_examples=10_000),
        rounds=rounds,
        seeds=seeds,
        evaluate=lambda params: _measured(params, split.test),
    )
    records = [state.record for state in federation.states()]
    found = dossiers(records)
    hostile = {NAMES[i] for i in HOSTILE} if attack is not None else set()
    quarantined = {client: one.changes for client, one in found.items() if one.quarantines}
    first = {
        client: min(change.round for change in changes if change.after == "quarantined")
        for client, changes in quarantined.items()
    }
    late = records[WAKES + 1 :] or records[-1:]
    tail = [record.metrics for record in records[-10:]]
    settled = {name: float(np.mean([metrics[name] for metrics in tail])) for name in tail[0]}
    return {
        **settled,
        "attackers_quarantined": len(hostile & set(first)),
        "honest_quarantined": len(set(first) - hostile),
        "waits": sorted(first[client] - WAKES for client in hostile & set(first)),
        "attacker_share": float(np.mean([sum(v.weight for v in r.verdicts if v.client in hostile) for r in late])),
    }


def _measured(params: F32, test: Dataset) -> dict[str, float]:
    inputs = test.inputs.reshape(len(test), -1).copy()
    found = {"accuracy": float(np.mean(MODEL.logits(params, inputs).argmax(axis=1) == test.labels))}
    others = test.labels != 0
    inputs[:, [0, 7, 8, 15]] = test.inputs.max()
    found["backdoor"] = float(np.mean(MODEL.logits(params, inputs[others]).argmax(axis=1) == 0))
    return found


def loop(seeds: int) -> dict[str, Any]:
    """Whole federations with and without the watch."""
    watched = [in_loop(200 + seed, 200, TrimmedMean(f=4), recommended(0.01), None) for seed in range(seeds)]
    plain = [in_loop(200 + seed, 200, TrimmedMean(f=4), None, None) for seed in range(seeds)]
    honest_ones = {
        "clients": seeds * CLIENTS,
        "ever_quarantined": sum(one["honest_quarantined"] for one in watched) / (seeds * CLIENTS),
        "accuracy_with": float(np.mean([one["accuracy"] for one in watched])),
        "accuracy_without": float(np.mean([one["accuracy"] for one in plain])),
    }
    return {"honest": honest_ones, "sleepers": sleepers(seeds)}


def sleepers(seeds: int, rounds: int = 60, rules: tuple[Any, ...] = (TrimmedMean(f=4), Mean())) -> dict[str, Any]:
    """Four that wake up in round 31: who is quarantined, and what the model loses, with and without the watch."""
    found: dict[str, Any] = {}
    watches: dict[str, dict[str, Watch | None]] = {
        rule.name: {"none": None, "recommended": recommended(0.01), "piloted": piloted(0, rounds, rule, 0.01)}
        for rule in rules
    }
    for attack in ("sign-flip", "scaling", "label-flip", "backdoor"):
        for rule in rules:
            for name, watch in watches[rule.name].items():
                runs = [in_loop(200 + seed, rounds, rule, watch, attack) for seed in range(seeds)]
                said = found[f"{attack}, {rule.name}, {name}"] = {
                    "attackers_quarantined": sum(one["attackers_quarantined"] for one in runs),
                    "of_attackers": seeds * len(HOSTILE),
                    "honest_quarantined": sum(one["honest_quarantined"] for one in runs),
                    "of_honest": seeds * (CLIENTS - len(HOSTILE)),
                    "waits": sorted(wait for one in runs for wait in one["waits"]),
                    **{
                        what: float(np.mean([one[what] for one in runs]))
                        for what in ("accuracy", "backdoor", "attacker_share")
                    },
                }
                print(attack, rule.name, name, json.dumps(said), flush=True)
    return found


def cost(n: int = 10_000, cohort: int = 100, d: int = 1_000_000, repeats: int = 3) -> dict[str, Any]:
    """Processor time of a rule alone, and with the watch before it, and bytes kept per client."""
    limit(1)
    few = (Norm(), CosineToCentre(), Neighbours(), Spectral())
    watches = {
        "products only": Watch(
            (InCohort(Together(few)), OwnPast(Together(few), drift=2.0), Drift(Norm())),
            Policy(alpha=0.01, reputation="together"),
        ),
        "all": Watch(
            (
                *(InCohort(one) for one in (*few, Likeness(), SignAgreement(), Predicted())),
                *(
                    InCohort(Together((*few, SignAgreement()))),
                    OwnPast(Together((*few, SignAgreement())), drift=2.0),
                    Drift(Norm()),
                ),
            ),
            Policy(alpha=0.01, reputation="together"),
        ),
    }
    rng = Seeds(0).child("cost")
    everybody = [client_id(f"c{i:05}") for i in range(n)]
    matrix = rng.standard_normal((cohort, d), dtype=np.float32)
    small = rng.standard_normal((n, 256), dtype=np.float32)
    found: dict[str, Any] = {"n": n, "cohort": cohort, "d": d}
    for label, watch in watches.items():
        memory: Memory = EMPTY
        for at in range(0, n, cohort):
            context = RoundContext(at // cohort + 1, Seeds(0).under(at), memory=memory)
            memory = watch.inspect(Rows(tuple(everybody[at : at + cohort]), small[at : at + cohort]), context).memory
        found[label] = {"bytes_per_client": sum(values.nbytes for values in memory.values()) / n}
        for rule in (MultiKrum(f=20), TrimmedMean(f=20), Chain((NNM(f=20),), TrimmedMean(f=20))):
            alone, watched = [], []
            for repeat in range(repeats):
                names = tuple(sorted(everybody[int(i)] for i in rng.permutation(n)[:cohort]))
                context = RoundContext(1_000 + repeat, Seeds(0).under("r", repeat), memory=joined({"watch": memory}))
                start = time.process_time()
                fuse(Rows(names, matrix), Defence(rule), replace(context, memory=EMPTY))
                middle = time.process_time()
                fused = fuse(Rows(names, matrix), Defence(rule, watch), context)
                alone.append(middle - start)
                watched.append(time.process_time() - middle)
            extra = min(watched) / min(alone) - 1
            scaled = sum(verdict.action is not Action.ACCEPT for verdict in fused.verdicts)
            found[label][rule.name] = {
                "alone_s": min(alone),
                "watched_s": min(watched),
                "extra_fraction": extra,
                "scaled_or_left_out": scaled,
            }
    return found


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("detection", "honest", "loop", "cost"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    found = (
        cost()
        if given.part == "cost"
        else {"detection": detection, "honest": honest, "loop": loop}[given.part](given.seeds)
    )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(given.out)


if __name__ == "__main__":
    main()
