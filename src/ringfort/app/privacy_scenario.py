"""From a recipe to what the red team tests: a small federation with the recipe's own mechanism, claim and design."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from ringfort.app.private import private
from ringfort.app.recipe import Recipe
from ringfort.audit.canary import (
    Accountant,
    Arithmetic,
    Claim,
    Cohorts,
    Divisor,
    NoisePlace,
    NoiseSource,
    PrivacyDesign,
    Release,
    Setting,
    audit_claim,
    central_claim,
    central_release,
    distributed_claim,
    distributed_release,
    example_claim,
    example_release,
)
from ringfort.audit.inference import (
    Effort,
    ExampleProtection,
    PrivacyReport,
    PrivacyScenario,
    Property,
    Protection,
    ShadowAttack,
    View,
    noise_share,
    observe,
    privacy_report,
    rates,
)
from ringfort.audit.inference.report import Membership
from ringfort.audit.scenario import Scenario
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.randomness import SecureRandom, Seeds
from ringfort.core.values import F32, F64, I64
from ringfort.privacy import (
    CentralNoise,
    DistributedNoise,
    ExampleNoise,
    Grid,
    LocalNoise,
    Neighbouring,
    Poisson,
    Receipt,
)

__all__ = ["PrivacyPlan", "SampledProtection", "codename", "is_text", "local_release", "plan"]

CLIENTS: Final = 10
ROWS: Final = 100
OTHERS: Final = 2_000
_SHADOWS: Final = 16
_WITHOUT: Final = Effort(batches=(), inverted=1)
"""Next to no reconstruction; one image, so that a model whose gradients cannot be inverted is still named."""
_ATTACKING: Final = "training and attacking a federation"
_MARKED: Final = 10
"""At most so many examples of a client carry the inferred property, a tenth of all it holds."""

_Noise = CentralNoise | DistributedNoise | LocalNoise | ExampleNoise


@dataclass(frozen=True)
class PrivacyPlan:
    """What `ringfort audit privacy` tests.

    Args:
        readers: the federation as everybody sees it who reads what the mechanism protects.
        single: the same as somebody reads it who gets at single updates: a trusted server before its noise, or
            whoever is behind the seal with its shares of noise. None if `readers` shows it as it is.
        outside: one client as somebody reads it in the published models who knows all others, for reconstruction; None
            if single updates carry the noise themselves.
        setting: of the audit with canaries.
        notes: how the tested federation differs from the recipe's, as sentences.
    """

    readers: PrivacyScenario
    single: PrivacyScenario | None
    outside: PrivacyScenario | None
    setting: Setting
    notes: tuple[str, ...]

    def run(self, seeds: Seeds, *, deep: bool, say: Callable[[str], None]) -> PrivacyReport:
        """Audit and attack.

        Args:
            seeds: for everything that is simulated.
            deep: also train shadow federations against the final model.
            say: told what happens now.
        """
        say("auditing the claim, training and attacking a federation" if self.readers.claim else _ATTACKING)
        report = self._readers(seeds)
        if self.single is not None:
            say(f"{_ATTACKING} that is read update by update")
            report = _merged(report, privacy_report(self.single, seeds, _WITHOUT if self.outside else Effort()))
        if self.outside is not None:
            again = privacy_report(self.outside, seeds, Effort(rows=1))
            report = replace(report, reconstruction=again.reconstruction, seconds=report.seconds + again.seconds)
        if self.readers.claim and self.readers.release and self.setting != Setting():
            say(f"auditing the claim with {self.setting.canaries} canaries")
            audit = audit_claim(self.readers.release, self.readers.claim, seeds.child("claim"), self.setting)
            report = replace(report, claim=audit, seconds=report.seconds + audit.seconds)
        if deep:
            say(f"training {_SHADOWS} shadow federations")
            report = _deepened(report, self.readers, seeds)
        return replace(report, not_covered=(*report.not_covered, *self.notes))

    def _readers(self, seeds: Seeds) -> PrivacyReport:
        if self.single is None:
            return privacy_report(self.readers, seeds)
        return privacy_report(replace(self.readers, wanted=None), seeds, _WITHOUT)


def _merged(readers: PrivacyReport, single: PrivacyReport) -> PrivacyReport:
    """Attacks on single updates from one report, on sums and models from the other."""
    return replace(
        readers,
        membership=(
            *(one for one in single.membership if one.view is View.RAW_UPDATES),
            *(one for one in readers.membership if one.view is not View.RAW_UPDATES),
        ),
        reconstruction=single.reconstruction,
        wanted=single.wanted,
        properties=single.properties,
        not_covered=tuple(said for said in readers.not_covered if said in single.not_covered),
        seconds=readers.seconds + single.seconds,
    )


def _deepened(report: PrivacyReport, scenario: PrivacyScenario, seeds: Seeds) -> PrivacyReport:
    """The report with shadow attacks on the same final model; shadows hold public data, protected like the clients'."""
    started = time.monotonic()

    def final(clients: tuple[Dataset, ...], own: Seeds) -> F32:
        made = observe(
            scenario.model, clients, scenario.training, scenario.rounds, View.FINAL_MODEL, own, scenario.protection
        )
        return made.final

    shadows = []
    for number in range(_SHADOWS):
        own = seeds.under("shadow", number)
        dealt = np.array_split(own.child("rows").permutation(len(scenario.public)), len(scenario.clients))
        sizes = [len(client) for client in scenario.clients]
        shadows.append(final(tuple(scenario.public.take(r[:n]) for r, n in zip(dealt, sizes, strict=True)), own))
    attacked = final(scenario.clients, seeds.under("federation"))
    parts = (*scenario.clients, scenario.others)
    records = parts[0].with_rows(
        np.concatenate([part.inputs for part in parts]), np.concatenate([part.labels for part in parts])
    )
    members = len(records) - len(scenario.others)
    limit = next((one.ceiling for one in report.membership if one.view is View.FINAL_MODEL), None)
    found = []
    for ratio in (False, True):
        attack = ShadowAttack(_SHADOWS, ratio)
        scores = attack.scores(scenario.model, attacked, records, _one_by_one(shadows), seeds)
        measured = rates(scores[:members], scores[members:])
        found.append(Membership(attack.name, View.FINAL_MODEL, attack.threat, measured, limit))
    return replace(
        report,
        membership=(*report.membership, *found),
        not_covered=tuple(said for said in report.not_covered if "deep tier" not in said),
        seconds=report.seconds + time.monotonic() - started,
    )


def _one_by_one(models: list[F32]) -> Callable[[Seeds], F32]:
    """Hands out models that are trained already, so that two attacks share them."""
    left = iter(models)
    return lambda _: next(left)


@dataclass(frozen=True, slots=True)
class SampledProtection(Protection):
    """Central noise seen from a client: by its own coin it takes part in a round or sends zeros.

    The mean of all clients' results is what the server would release: the sum of those who came, with the noise that
    all shares make up, over the expected cohort.

    Args:
        rate: the chance to take part, in (0, 1].
    """

    rate: float

    def __call__(self, delta: F32, rng: np.random.Generator) -> F32:
        """Clipped or left out, noised, and scaled to the expected cohort; for a simulation only."""
        sent = delta if rng.random() < self.rate else np.zeros_like(delta)
        protected: F32 = Protection.__call__(self, sent, rng) / np.float32(self.rate)
        return protected


def plan(recipe: Recipe, scenario: Scenario, rule: str, canaries: int) -> PrivacyPlan:
    """Cut the recipe's federation to what a report in minutes needs, and take its mechanism as it is.

    Args:
        recipe: the recipe.
        scenario: its federation, without [privacy].
        rule: the name of the rule that combines updates.
        canaries: to play in the audit of the claim.

    Raises:
        Incompatible (RF103): [privacy] promises nothing with this rule and seal, or promises what canaries cannot
            test (replace-one, fixed cohorts, clips that adapt), or the data is too small.
    """
    seeds = Seeds(recipe.seed)
    parts = scenario.parts(seeds)
    mechanism = _mechanism(recipe, scenario, rule)
    setting = Setting(canaries, 4 * canaries)
    clients, others = _people(scenario.train, parts, seeds)
    public = scenario.test.take(
        np.sort(seeds.child("public").permutation(len(scenario.test))[: len(scenario.test) // 2])
    )
    base = PrivacyScenario(
        model=scenario.model(),
        clients=clients,
        others=others,
        public=public,
        training=scenario.training,
        rounds=scenario.rounds,
        protection=None,
        claim=None,
        release=None,
        covered=frozenset(),
        design=None,
        wanted=codename(public, others) if is_text(scenario.train) else brightness(public, others),
    )
    notes = [
        f"The attacks ran against {len(clients)} of the recipe's {len(parts)} clients with at most {ROWS} examples "
        "each, combined by the plain mean. More clients in a sum hide a client better, more examples an example."
    ]
    if mechanism is None or recipe.privacy is None:
        return PrivacyPlan(base, None, None, setting, tuple(notes))
    claim, release = _claim(mechanism, scenario, setting, recipe.privacy.delta, seeds)
    readers = replace(
        base,
        protection=_protection(mechanism, len(clients)),
        claim=claim,
        release=release,
        covered=_covered(mechanism),
        design=_design(mechanism, claim, scenario, rule, len(parts)),
    )
    if claim.epsilon() > recipe.privacy.epsilon:
        notes.append(
            f"The budget of epsilon {recipe.privacy.epsilon:g} is spent before round {scenario.rounds}: a training run "
            "stops there. All rounds were audited."
        )
    if isinstance(mechanism, ExampleNoise):
        notes.append(
            "The claim is for single examples: each canary is one example of one client, which is read after every "
            f"step. The tested clients hold at most {ROWS} examples and draw each with the recipe's chance, so their "
            "minibatches are smaller than planned. The property is one that many examples share: it is not covered."
        )
    single = outside = None
    if isinstance(mechanism, CentralNoise):
        single = base
        # The whole noise on one client: what is left for somebody who subtracts everybody else.
        whole = Protection(mechanism.clip.norm, mechanism.noise_multiplier)
        outside = replace(base, protection=whole, rounds=1, wanted=None)
        notes.append(
            "Central noise protects nobody from the server: raw updates and the property are shown as the server reads "
            "them, without noise, and so is reconstruction where the protection is none. The other reconstructions are "
            "of somebody who reads the published models and knows all other clients; the total is the released one."
        )
    elif isinstance(mechanism, DistributedNoise) and mechanism.alive - mechanism.colluding > len(clients):
        honest = mechanism.alive - mechanism.colluding
        single = replace(base, protection=Protection(mechanism.clip.norm, noise_share(claim.noise_multiplier, honest)))
        notes.append(
            f"Raw updates, the property and the reconstructions carry the real share of noise, one of {honest}: "
            "this is what the seal hides. Total and final model carry the whole noise that is claimed."
        )
    return PrivacyPlan(readers, single, outside, setting, tuple(notes))


def _mechanism(recipe: Recipe, scenario: Scenario, rule: str) -> _Noise | None:
    """What `ringfort train` would use. Its ledgers are made in a passing folder: an audit spends nobody's budget."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        made = private(recipe, scenario, rule, Path(folder), stack)
    if made.release is not None:
        return made.release.mechanism
    return None if made.scenario.privacy is None else made.scenario.privacy.mechanism


def _people(train: Dataset, parts: tuple[I64, ...], seeds: Seeds) -> tuple[tuple[Dataset, ...], Dataset]:
    """At most `CLIENTS` clients of at most `ROWS` rows, and rows that none of these holds."""
    rng = seeds.child("audit", "rows")
    chosen = [rng.permutation(part)[:ROWS] for part in parts[:CLIENTS]]
    left = np.setdiff1d(np.arange(len(train)), np.concatenate(chosen))
    if not len(left):
        raise Incompatible(
            "these clients hold all training rows, so nobody is left to tell them from: split the data over more "
            f"than {CLIENTS} clients, or over clients with more than {ROWS} rows"
        )
    return tuple(train.take(np.sort(rows)) for rows in chosen), train.take(rng.permutation(left)[:OTHERS])


def _claim(
    mechanism: _Noise, scenario: Scenario, setting: Setting, delta: float, seeds: Seeds
) -> tuple[Claim, Callable[[], Release]]:
    rounds = scenario.rounds
    if isinstance(mechanism, ExampleNoise):
        return example_claim(mechanism, rounds, delta), example_release(mechanism)
    if isinstance(mechanism, CentralNoise):
        return central_claim(mechanism, rounds, delta), central_release(mechanism, seeds.child("audit", "cohorts"))
    if isinstance(mechanism, LocalNoise):
        if mechanism.neighbouring is not Neighbouring.ZERO_OUT:
            raise Incompatible(
                "canaries test claims of zero-out-one: a canary takes part with its vector or with zeros"
            )
        return Claim(mechanism.noise_multiplier, mechanism.clip.norm, 1.0, rounds, delta), local_release(mechanism)
    seal: Any = scenario.seal
    encoding = getattr(seal, "inside", seal).encoding
    d = setting.dimensions
    grid = Grid(encoding.scale(d), encoding.norm_bound(d), encoding.length(d))
    return (
        distributed_claim(mechanism, rounds, delta),
        distributed_release(replace(mechanism, grid=grid), encoding),
    )


def local_release(mechanism: LocalNoise) -> Callable[[], Release]:
    """A `build` for `audit_claim`: what somebody learns who reads every client's own message.

    Each message is read along the direction of what its client would send, where its secret lies; everything else is
    read from one client that sends nothing but noise. So each coordinate carries one client's noise, not their sum.
    """
    random = SecureRandom()

    def release(updates: F32) -> F64:
        idle = np.zeros((1, updates.shape[1]), dtype=np.float32)
        noise, *messages = (
            mechanism.protect(update, Receipt(1, {mechanism.event: 1}, "audit"), random)[0].astype(np.float64)
            for update in np.concatenate([idle, updates])
        )
        wanted = updates.astype(np.float64)
        wanted /= np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-12)
        found = np.array([along @ message for along, message in zip(wanted, messages, strict=True)])
        seen: F64 = noise + (found - wanted @ noise) @ wanted
        return seen

    return lambda: release


def _protection(mechanism: _Noise, clients: int) -> Protection:
    z, clip = mechanism.noise_multiplier, mechanism.clip.norm
    if isinstance(mechanism, ExampleNoise):
        return ExampleProtection(clip, z, mechanism.clip, mechanism.sampling.rate, mechanism.sampling.expected)
    if isinstance(mechanism, LocalNoise):
        return Protection(clip, z)
    if isinstance(mechanism, DistributedNoise):
        # Fewer clients than the shares are planned for would carry less noise than is claimed.
        return Protection(clip, noise_share(z, min(clients, mechanism.alive - mechanism.colluding)))
    rate = mechanism.sampling.rate if isinstance(mechanism.sampling, Poisson) else 1.0
    return SampledProtection(clip, noise_share(z, clients), rate)


def _covered(mechanism: _Noise) -> frozenset[View]:
    if isinstance(mechanism, LocalNoise | ExampleNoise):
        return frozenset(View)
    if isinstance(mechanism, DistributedNoise):
        return frozenset({View.TOTAL, View.FINAL_MODEL})
    return frozenset({View.FINAL_MODEL})


def _design(mechanism: _Noise, claim: Claim, scenario: Scenario, rule: str, population: int) -> PrivacyDesign:
    place = {
        LocalNoise: NoisePlace.LOCAL,
        DistributedNoise: NoisePlace.DISTRIBUTED,
        CentralNoise: NoisePlace.CENTRAL,
        ExampleNoise: NoisePlace.EXAMPLE,
    }[type(mechanism)]
    by_example = isinstance(mechanism, ExampleNoise)
    sampled = by_example or (isinstance(mechanism, CentralNoise) and isinstance(mechanism.sampling, Poisson))
    return PrivacyDesign(
        place=place,
        cohorts=Cohorts.POISSON if by_example else _drawn(scenario, population),
        counted_cohorts=Cohorts.POISSON if sampled else Cohorts.EVERYONE,
        neighbouring=mechanism.neighbouring,
        clip_norm=mechanism.clip.norm,
        sensitivity=mechanism.clip.norm * mechanism.neighbouring.reach,
        noise_multiplier=mechanism.noise_multiplier / mechanism.neighbouring.reach,
        epsilon=claim.epsilon(),
        delta=claim.delta,
        rounds=claim.rounds,
        composed=True,
        accountant=Accountant.RDP if isinstance(mechanism, DistributedNoise) else Accountant.PLD,
        source=NoiseSource.OPERATING_SYSTEM,
        arithmetic=Arithmetic.INTEGER_GRID,
        divisor=Divisor.EXPECTED,
        sealed=scenario.seal is not None,
        selecting_rule=rule != "mean",
        extras=frozenset(),  # a private client claims one example, whatever it holds, and sends nothing else
        population=mechanism.sampling.of if isinstance(mechanism, ExampleNoise) else population,
    )


def _drawn(scenario: Scenario, population: int) -> Cohorts:
    if scenario.rate is not None:
        return Cohorts.POISSON
    return Cohorts.EVERYONE if scenario.cohort in (None, population) else Cohorts.FIXED_SIZE


def brightness(*pools: Dataset) -> Property | None:
    """Whether a client's examples of one class have high inputs rather than low ones; its label counts are the same.

    Args:
        pools: what clients are drawn from; the class is the one of which the poorest pool holds most.

    Returns:
        None if no class has two examples in every pool.
    """
    counts = np.min([np.bincount(pool.labels, minlength=len(pool.classes)) for pool in pools], axis=0)
    label = int(counts.argmax())
    marked = min(_MARKED, int(counts[label]) // 2)
    rest = min(9 * marked, *(int((pool.labels != label).sum()) for pool in pools))
    if not marked:
        return None

    def draw(pool: Dataset, has: bool, rng: np.random.Generator) -> Dataset:
        rows = np.flatnonzero(pool.labels == label)
        order = rows[pool.floats(rows).reshape(len(rows), -1).mean(axis=1).argsort(kind="stable")]
        half = order[len(order) - len(order) // 2 :] if has else order[: len(order) // 2]
        other = rng.choice(np.flatnonzero(pool.labels != label), rest, replace=False)
        return pool.take(np.concatenate([rng.choice(half, marked, replace=False), other]))

    name = pools[0].classes[label]
    return Property(f"its examples of {name!r} have high inputs rather than low ones (brighter images)", draw)


def is_text(data: Dataset) -> bool:
    """Whether the inputs are words: (N, words, buckets) uint8 with one raised bucket for each word."""
    return (
        data.inputs.ndim == 3
        and data.inputs.dtype == np.uint8
        and bool((np.count_nonzero(data.inputs, axis=2) == 1).all())
    )


def codename(*pools: Dataset) -> Property | None:
    """Whether a client's texts hold one made-up word, planted in a tenth of them, rather than another made-up word.

    Either takes the place of the middle word in texts of one class, as a codename in a department's letters would
    stand beside the same small words, and is a bucket that the pools' texts use least. Classes are drawn alike.

    Args:
        pools: words, as `is_text` says.

    Returns:
        None if a pool is too small.
    """
    uses = np.sum([np.count_nonzero(pool.inputs, axis=(0, 1)) for pool in pools], axis=0)
    here, there = np.argsort(uses, kind="stable")[:2]
    counts = np.min([np.bincount(pool.labels, minlength=len(pool.classes)) for pool in pools], axis=0)
    label = int(counts.argmax())
    rows = min(ROWS, *(len(pool) // 4 for pool in pools))
    planted = min(_MARKED, rows // 10, int(counts[label]) // 2)
    if not planted:
        return None

    def draw(pool: Dataset, has: bool, rng: np.random.Generator) -> Dataset:
        marked = rng.choice(np.flatnonzero(pool.labels == label), planted, replace=False)
        others = np.setdiff1d(np.arange(len(pool)), marked)
        drawn = pool.take(np.concatenate([marked, rng.choice(others, rows - planted, replace=False)]))
        inputs, middle = drawn.inputs.copy(), drawn.inputs.shape[1] // 2
        inputs[:planted, middle] = 0
        inputs[:planted, middle, here if has else there] = 255
        return drawn.with_rows(inputs, drawn.labels)

    return Property(
        f"{planted} of its {rows} texts hold a planted codename rather than another made-up word, in place of one word",
        draw,
    )
