"""The drill: every attack against every wall on the same federation, with the same seeds."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ringfort.aggregate.chain import Chain
from ringfort.attacks.threat import Attack, DataAttack
from ringfort.attacks.wrapper import Wrapper
from ringfort.audit.exposure import exposure
from ringfort.audit.judge import findings, judge
from ringfort.audit.measure import predictor, recall, worst_client
from ringfort.audit.results import (
    NO_ATTACK,
    AttackCard,
    DrillResult,
    Manifest,
    Point,
    SanitisedRow,
    Thresholds,
    Trial,
    WallCard,
)
from ringfort.audit.scenario import Scenario
from ringfort.audit.watching import quarantined
from ringfort.core.docs import section, title
from ringfort.core.errors import Incompatible, InvalidValue, NothingAdmitted, RingfortError
from ringfort.core.files import canonical_json
from ringfort.core.ports import Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, ClientId
from ringfort.engine.workers import Emit, Workers
from ringfort.rounds.fuse import Defence
from ringfort.rounds.record import RoundRecord

__all__ = ["SETTLED", "Drill", "attack_card", "durability", "point", "wall_card"]

SETTLED = 5
"""The last rounds over which a trial's numbers are averaged: under attack a model can swing from round to round."""

LASTING = 0.5
"""A backdoor is there as long as it succeeds this often."""

Watch = Callable[[str, str, "Point | Trial"], None]
"""Told (attack, wall, what happened) as the drill goes on: a Point after each round, the Trial at the end."""


Key = tuple[str, str, int]
"""(attack, wall, seed): names one trial."""


def point(record: RoundRecord) -> Point:
    """What was measured after a committed round."""
    return Point(record.round, record.metrics["accuracy"], record.metrics.get("attack_success"))


def durability(curve: Iterable[Point], stops: int) -> int:
    """Rounds in a row after the last hostile one in which the attack succeeds in half of its tries or more.

    >>> durability([Point(r, 0.8, s) for r, s in enumerate((0.0, 0.9, 0.7, 0.5, 0.4, 0.6))], stops=1)
    2
    """
    rates = {p.round: p.attack_success or 0.0 for p in curve if p.round >= stops}
    lasting = list(takewhile(lambda number: rates[number] >= LASTING, sorted(rates)))
    return max(0, len(lasting) - 1)


def wall_card(defence: Defence, n: int) -> WallCard:
    """How a report introduces a wall in cohorts of n; the words are its docstring's."""
    parts = defence.rule.parts if isinstance(defence.rule, Chain) else (defence.rule,)
    parts = parts if defence.watch is None else (defence.watch, *parts)

    def said(name: str) -> str:
        return " ".join(section(type(part), name) for part in parts)

    return WallCard(
        name=defence.name,
        label=defence.label,
        bears=defence.rule.bears(n),
        source=said("Source"),
        does_not_protect=said("Does not protect against"),
    )


def attack_card(attack: Attack) -> AttackCard:
    """How a report introduces an attack; the words are its docstring's and its threat model's."""
    layers = _layers(attack)
    return AttackCard(
        name=attack.name,
        title=", ".join(title(type(layer)).partition(":")[0] for layer in layers),
        parameters={
            (f.name if layer is layers[-1] else f"{layer.word}.{f.name}"): getattr(layer, f.name)
            for layer in layers
            for f in fields(layer)
            if f.name != "inner"
        },
        goal=attack.threat.goal,
        knows=attack.threat.knows.words(),
        controls=attack.threat.controls.words(),
        colludes=attack.threat.colludes,
        metric=attack.metric,
        source=" ".join(section(type(layer), "Source") for layer in layers),
        targeted=bool(attack.metric),
    )


def _layers(attack: Any) -> tuple[Any, ...]:
    """What an attack wears, from the outside in, and the attack itself."""
    return (attack, *_layers(attack.inner)) if isinstance(attack, Wrapper) else (attack,)


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A scenario, its attackers and the walls to be tried.

    Args:
        title: for the report.
        scenario: the federation.
        attacks: tried one at a time; none twice by name.
        walls: the first must be one that bears nobody (the undefended mean): the reference.
        f: attackers the other walls must bear; those that cannot are refused before anything runs.
        hostile_fraction: the true share of attackers, in [0, 0.5); the clients are drawn per seed.
        seeds: one federation each; more seeds give ranges instead of single numbers.
        thresholds: when a wall holds.
        owners_are_honest: the attackers' data are an infection that their owners do not know of, and sanitise like
            everybody else. Otherwise hostile owners leave sanitisation out.

    Raises:
        Incompatible (RF103), ToleranceExceeded (RF301), InvalidValue (RF104): an attack that does not fit the data, a
            wall that cannot bear f, a first wall that is no reference. All before anything runs.
    """

    title: str
    scenario: Scenario
    attacks: tuple[Attack, ...]
    walls: tuple[Defence, ...]
    f: int
    hostile_fraction: float
    seeds: tuple[int, ...]
    thresholds: Thresholds
    owners_are_honest: bool = False

    def __post_init__(self) -> None:
        if self.owners_are_honest:
            if self.scenario.sanitiser is None:
                raise Incompatible("drill.owners_are_honest asks what [sanitise] is worth: add that table")
            for attack in self.attacks:
                if not isinstance(attack, DataAttack):
                    raise Incompatible(
                        f"drill.owners_are_honest: {attack.name} is no infection of data, its owner must be hostile"
                    )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InvalidValue("a drill needs at least one seed, each once")
        if not 0 <= self.hostile_fraction < 0.5:
            raise InvalidValue(f"hostile_fraction must lie in [0, 0.5), got {self.hostile_fraction}")
        if 2 * self._n_hostile >= self.population:
            raise InvalidValue(
                f"hostile_fraction = {self.hostile_fraction} makes {self._n_hostile} of {self.population} clients "
                "hostile: no wall bears half"
            )
        for kind, listed in (("attack", self.attacks), ("wall", self.walls)):
            seen = [item.name for item in listed]
            if len(set(seen)) != len(seen):
                raise InvalidValue(f"the drill lists the {kind} {max(seen, key=seen.count)!r} twice")
        if not self.walls or self.walls[0].rule.bears(self.n) > 0 or self.walls[0].watch is not None:
            raise Incompatible("the first wall of a drill must be the undefended mean: the reference for all others")
        for wall in self.walls:
            self.scenario.require(wall, 0 if wall is self.walls[0] else self.f, Seeds(self.seeds[0]))
        for seed in self.seeds:
            sampled = self.scenario.sampled(Seeds(seed))
            for attack in self.attacks:
                attack.success(lambda inputs: np.zeros(len(inputs), dtype=np.int64), sampled)

    @cached_property
    def everyone(self) -> tuple[ClientId, ...]:
        """The clients of the federation."""
        return self.scenario.clients(Seeds(self.seeds[0]))

    @property
    def population(self) -> int:
        """How many there are."""
        return len(self.everyone)

    @property
    def n(self) -> int:
        """Names that a rule sees per round: clients, or groups of them."""
        return self.scenario.rows(Seeds(self.seeds[0]))

    def hostile(self, seeds: Seeds) -> tuple[ClientId, ...]:
        """Who the attackers are, drawn from the seeds."""
        drawn = seeds.child("hostile").permutation(self.population)[: self._n_hostile]
        return tuple(sorted(self.everyone[i] for i in drawn))

    @property
    def _n_hostile(self) -> int:
        # 0.07 * 100 is a little more than 7 in floating point; that does not make an eighth attacker.
        return math.ceil(round(self.hostile_fraction * self.population, 9))

    def keys(self) -> tuple[Key, ...]:
        """(attack, wall, seed) of every trial, in the order of the table."""
        rows = (NO_ATTACK, *(attack.name for attack in self.attacks))
        return tuple((attack, w.name, seed) for seed in self.seeds for attack in rows for w in self.walls)

    def run(self, manifest: Manifest, watch: Watch | None = None) -> DrillResult:
        """Run every trial, `scenario.workers` at a time, and judge them.

        A trial in which nothing is admitted any more counts as what it is: a model that stopped there. A trial that
        fails for another reason has no numbers, and its cell says ERROR.
        """
        started, watch = time.monotonic(), watch or (lambda *_: None)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        keys = self.keys()
        trials: dict[int, Trial] = {}
        for index, event in self._events(keys):
            attack, wall, _ = keys[index]
            watch(attack, wall, event)
            if isinstance(event, Trial):
                trials[index] = event
        done = tuple(trials[i] for i in range(len(keys)))
        attack_cards = tuple(attack_card(a) for a in self.attacks)
        wall_cards = tuple(wall_card(w, self.n) for w in self.walls)
        cells = judge(done, attack_cards, wall_cards, self.thresholds)
        seeds = Seeds(self.seeds[0])
        return DrillResult(
            title=self.title,
            created=created,
            manifest=manifest,
            clients=self.everyone,
            hostile=self.hostile(seeds),
            rounds=self.scenario.rounds,
            d=self.scenario.model().schema.d,
            classes=self.scenario.train.classes,
            label_counts=label_counts(self.scenario, seeds),
            seeds=self.seeds,
            thresholds=self.thresholds,
            attacks=attack_cards,
            walls=wall_cards,
            trials=done,
            cells=cells,
            findings=findings(cells, attack_cards, wall_cards),
            not_covered=self._not_covered(),
            seconds=time.monotonic() - started,
        )

    def _events(self, keys: tuple[Key, ...]) -> Iterator[tuple[int, Point | Trial]]:
        """What happens in all trials, as (index, event), run here or by worker processes."""
        if self.scenario.workers == 1:
            with threadpool_limits(limits=1):  # as in worker processes: the number of threads can change the last bits
                for index, key in enumerate(keys):
                    yield from ((index, event) for event in self.trial(*key))
            return
        with Workers(self._work, min(self.scenario.workers, len(keys))) as pool:
            for index, final, body in pool.map([canonical_json(list(key)) for key in keys]):
                value = json.loads(body)
                yield index, _trial(value) if final else Point(**value)

    def _work(self, task: bytes, emit: Emit) -> bytes:
        attack, wall, seed = json.loads(task)
        for event in self.trial(attack, wall, seed):
            body = canonical_json(asdict(event))
            if isinstance(event, Trial):
                break
            emit(body)
        return body

    def trial(self, attack_name: str, wall_name: str, seed: int) -> Iterator[Point | Trial]:
        """Run one federation: a Point after each round, then the Trial, measured on the whole test set."""
        started, seeds = time.monotonic(), Seeds(seed)
        attack = next((a for a in self.attacks if a.name == attack_name), None)
        defence = next(w for w in self.walls if w.name == wall_name)
        hostile = self.hostile(seeds) if attack else ()
        blank = Trial(attack_name, wall_name, seed, (), 0, None, {}, (), None, 0, 0, 0, "")
        records: list[RoundRecord] = []
        rows: list[SanitisedRow] = []
        tail: deque[dict[str, float]] = deque(maxlen=SETTLED)
        measured = (attack,) if attack else self.attacks
        try:
            federation = self.scenario.federation(
                seeds,
                defence,
                attack=attack,
                hostile=hostile,
                owners_are_honest=self.owners_are_honest,
                observe=rows.append,
            )
            try:
                for last in federation.states():
                    records.append(last.record)
                    yield point(last.record)
                    if last.round > max(0, self.scenario.rounds - SETTLED):
                        tail.append(self._measure(federation.model, last.params, measured))
            except NothingAdmitted:
                tail.append(self._measure(federation.model, last.params, measured))
            finally:
                federation.exchange.close()
        except Exception as error:  # also what somebody else's rule or attack raises: one trial never ends a drill
            words = str(error) if isinstance(error, RingfortError) else f"{type(error).__name__}: {error}"
            yield replace(blank, seconds=time.monotonic() - started, error=words)
            return
        settled = {key: sum(m[key] for m in tail) / len(tail) for key in tail[-1]}
        attackers, accused = quarantined(records, hostile) if defence.watch is not None else (None, None)
        shares = [sum(v.weight for v in record.verdicts if v.client in hostile) for record in records[1:]]
        curve = tuple(point(record) for record in records)
        predict = predictor(federation.model, last.params, self.scenario.test)
        honest = [
            part for name, part in zip(self.everyone, self.scenario.parts(seeds), strict=True) if name not in hostile
        ]
        stops: int | None = getattr(attack, "stops", None)
        yield replace(
            blank,
            curve=curve,
            accuracy=settled.pop("accuracy"),
            attack_success=settled.get(attack.name) if attack else None,
            base_rates={} if attack else settled,
            recall=recall(predict, self.scenario.test),
            worst_client=worst_client(predict, self.scenario.train, honest),
            durability=None if stops is None else durability(curve, stops),
            attacker_share=sum(shares) / len(shares) if attack and shares else None,
            refusals=sum(len(record.refusals) for record in records),
            failures=sum(len(record.failures) for record in records),
            seconds=time.monotonic() - started,
            model=last.record.next_model,
            sanitised=tuple(rows),
            attackers_quarantined=attackers if attack else None,
            honest_quarantined=accused,
        )

    def _measure(self, model: Model, params: F32, attacks: Iterable[Attack]) -> dict[str, float]:
        """Accuracy, and each targeted attack's success under its name, on the whole test set."""
        test = self.scenario.test
        predict = predictor(model, params, test)
        rates = {attack.name: attack.success(predict, test) for attack in attacks}
        return {
            "accuracy": float(np.mean(predict(test.inputs) == test.labels)),
            **{name: rate for name, rate in rates.items() if rate is not None},
        }

    def _not_covered(self) -> tuple[str, ...]:
        s = self.scenario
        seen = exposure(s.seal)
        out = [
            f"Only the attacks listed were tried, each as described. An attacker who knows the wall and adapts to it "
            f"can do better; {self._n_hostile} attackers of {self.population} is "
            "this drill's assumption, more can break any wall.",
            *seen.protects,
            *seen.open,
            "Names are not authenticated on the in-process engine: Sybils and impersonation are not part of the drill.",
            f"The walls were told f = {self.f}. With a smaller f than there are attackers they give no guarantee.",
            "All clients live on one machine and answer every round; dropouts and stragglers are not simulated.",
        ]
        if s.sanitiser is not None:
            out.append(
                "Every owner sanitised its data, those of infected data too: a hostile owner would leave it out."
                if self.owners_are_honest
                else "Hostile owners do not sanitise their data: [sanitise] is no wall against them."
            )
        if len(self.seeds) == 1:
            out.insert(1, "One seed: differences of a point or two are noise. Add seeds for ranges.")
        if s.sample < len(s.test):
            out.append(
                f"Curves are measured on {s.sample} test examples per round; the table on all {len(s.test)}, averaged "
                f"over the last {SETTLED} rounds."
            )
        return tuple(out)


def label_counts(scenario: Scenario, seeds: Seeds) -> tuple[tuple[int, ...], ...]:
    """(clients, classes): what each client holds."""
    classes = len(scenario.train.classes)
    return tuple(
        tuple(int(c) for c in np.bincount(scenario.train.labels[rows], minlength=classes))
        for rows in scenario.parts(seeds)
    )


def _trial(value: dict[str, Any]) -> Trial:
    rows = tuple(SanitisedRow(**{**row, "excess": tuple(row["excess"])}) for row in value["sanitised"])
    curve = tuple(Point(**p) for p in value["curve"])
    return Trial(**{**value, "curve": curve, "recall": tuple(value["recall"]), "sanitised": rows})
