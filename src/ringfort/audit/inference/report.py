"""One federation's privacy report: its claim audited, its views attacked, its inputs reconstructed, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np

from ringfort.audit.canary import (
    Claim,
    ClaimAudit,
    Finding,
    PrivacyDesign,
    Release,
    audit_claim,
    check_design,
    no_claim,
)
from ringfort.audit.inference.membership import LogitGain, LossThreshold, MembershipAttack, UpdateCosine, attack_members
from ringfort.audit.inference.metrics import Ceiling, Likeness, Rates, ceiling, likeness
from ringfort.audit.inference.observe import (
    ExampleProtection,
    Observation,
    Protection,
    narrowed,
    observe,
    protected_update,
)
from ringfort.audit.inference.property import Property, PropertyAttack, PropertyFinding
from ringfort.audit.inference.reconstruction import FirstLayer, Imprint, label_score, restore_labels
from ringfort.audit.inference.threat import InferenceThreat, View
from ringfort.client.perceptron import Perceptron
from ringfort.core.checks import whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.ports import LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, F64

__all__ = ["Effort", "Membership", "PrivacyReport", "PrivacyScenario", "Reconstruction", "privacy_report"]


@dataclass(frozen=True, kw_only=True)
class PrivacyScenario:
    """A federation whose privacy is to be tested.

    Args:
        model: the family that clients train.
        clients: what each holds.
        others: like the clients' data, but nobody trained on it; 1,000 records show rates at 0.1 %.
        public: what the attacker has; disjoint from both.
        training: every client's local steps.
        rounds: of the federation.
        protection: what clients do to an update before it leaves; None if nothing.
        claim: what is claimed for the whole run, with `release`; None if nothing is.
        release: builds the mechanism that the claim is about.
        covered: the views in which clients' protection carries out the claim, so that its ceiling holds there.
        design: how it was built, for the checks that need no statistics; None skips them.
        wanted: a property to infer, from `public` and `others`; None skips it.
    """

    model: Model
    clients: tuple[Dataset, ...] = field(repr=False)
    others: Dataset = field(repr=False)
    public: Dataset = field(repr=False)
    training: LocalTraining
    rounds: int
    protection: Protection | None
    claim: Claim | None
    release: Callable[[], Release] | None
    covered: frozenset[View]
    design: PrivacyDesign | None
    wanted: Property | None

    def __post_init__(self) -> None:
        if (self.claim is None) != (self.release is None):
            raise InvalidValue("a claim and the mechanism it is about come together: give both or neither")
        if self.claim is None and self.covered:
            raise InvalidValue("without a claim no view is covered by one")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to try; the defaults are the default tier.

    Args:
        rows: clients whose raw updates are attacked, at most.
        batches: sizes of the batches to reconstruct.
        draws: batches of each size.
        inverted: images to invert gradients for; 0 skips it.
        shadows: shadow clients for the property.
        targets: clients to attack for the property.
    """

    rows: int = 5
    batches: tuple[int, ...] = (1, 8, 32)
    draws: int = 3
    inverted: int = 2
    shadows: int = 100
    targets: int = 60

    def __post_init__(self) -> None:
        whole(1, rows=self.rows, draws=self.draws)
        whole(0, inverted=self.inverted)
        for batch in self.batches:
            whole(1, batch=batch)


@dataclass(frozen=True, slots=True)
class Membership:
    """One membership attack through one view.

    Args:
        attack: its name.
        view: what was read.
        threat: its assumption.
        rates: what it reached.
        ceiling: what the claim permits in this view; None if the claim does not cover it.
    """

    attack: str
    view: View
    threat: InferenceThreat
    rates: Rates
    ceiling: Ceiling | None


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """One reconstruction attack on batches of one size under one protection.

    Args:
        attack: its name.
        threat: its assumption.
        protection: in words.
        batch: examples per update.
        likeness: mean over the draws, beside the mean image's.
        labels: share of the labels restored; None if the attack was given them.
        originals: (N, ...) of the first draw, at most 8.
        pictures: (N, ...) what came out for them.
    """

    attack: str
    threat: InferenceThreat
    protection: str
    batch: int
    likeness: Likeness
    labels: float | None
    originals: F64 = field(repr=False)
    pictures: F64 = field(repr=False)


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """What the red team found.

    Args:
        claim: the audit of the claim.
        findings: of the design's checks.
        accuracy: of the final model on `others`.
        membership: every attack through every view.
        reconstruction: every attack, batch size and protection.
        wanted: the property's name, if one was inferred.
        properties: what came of it.
        not_covered: what this report does not say, as sentences.
        seconds: what it took.
    """

    claim: ClaimAudit
    findings: tuple[Finding, ...]
    accuracy: float
    membership: tuple[Membership, ...]
    reconstruction: tuple[Reconstruction, ...]
    wanted: str | None
    properties: PropertyFinding | None
    not_covered: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under a versioned schema name. Pictures stay out: they are data."""
        plain = _plain(asdict(replace(self, claim=no_claim())))
        for one in plain["reconstruction"]:
            del one["originals"], one["pictures"]
        return {"schema": "ringfort-privacy/1", **plain, "claim": self.claim.to_json()}


def privacy_report(scenario: PrivacyScenario, seeds: Seeds, effort: Effort | None = None) -> PrivacyReport:
    """Audit the claim and run the default tier of attacks on one federation.

    Args:
        scenario: the federation.
        seeds: for everything that is simulated.
        effort: how much to try.

    Does not protect: anything. A failed attack is no proof of privacy, and noise that stops a reconstruction can be ten
        thousand times too small for differential privacy.

    Raises:
        MissingExtra (RF105): a claim is audited without scipy, or without dp-accounting where it has sampling.
        InvalidValue (RF104): data that does not suffice.

    Cost: one federation, a few forward passes per round and attack, and the claim's audit.
    """
    effort = Effort() if effort is None else effort
    started = time.monotonic()
    claim = no_claim()
    if scenario.claim is not None and scenario.release is not None:
        claim = audit_claim(scenario.release, scenario.claim, seeds.child("claim"))
    raw = observe(
        scenario.model,
        scenario.clients,
        scenario.training,
        scenario.rounds,
        View.RAW_UPDATES,
        seeds.under("federation"),
        scenario.protection,
    )
    logits = scenario.model.logits(raw.final, scenario.others.floats())
    dense = _is_perceptron(scenario.model)
    return PrivacyReport(
        claim=claim,
        findings=() if scenario.design is None else check_design(scenario.design),
        accuracy=float((logits.argmax(axis=1) == scenario.others.labels).mean()),
        membership=_membership(scenario, raw, dense, effort),
        reconstruction=_reconstructions(scenario, raw, dense, seeds.under("reconstruction"), effort),
        wanted=None if scenario.wanted is None else scenario.wanted.name,
        properties=_properties(scenario, raw, seeds.under("property"), effort),
        not_covered=_not_covered(scenario, dense, effort),
        seconds=time.monotonic() - started,
    )


def _membership(scenario: PrivacyScenario, raw: Observation, dense: bool, effort: Effort) -> tuple[Membership, ...]:
    readers: list[MembershipAttack] = [LogitGain()]
    if dense:
        readers.insert(0, UpdateCosine())
    permitted = None if scenario.claim is None else ceiling(scenario.claim.curve())
    found = []
    for view in View:
        seen, limit = narrowed(raw, view), permitted if view in scenario.covered else None
        for attack in [LossThreshold()] if view is View.FINAL_MODEL else readers:
            measured = attack_members(attack, scenario.model, seen, scenario.others, effort.rows)
            found.append(Membership(attack.name, view, attack.threat, measured, limit))
    return tuple(found)


def _reconstructions(
    scenario: PrivacyScenario, raw: Observation, dense: bool, seeds: Seeds, effort: Effort
) -> tuple[Reconstruction, ...]:
    protections: list[tuple[str, Protection | None]] = [("none", None)]
    if scenario.protection is not None:
        given = scenario.protection
        each = " per example" if isinstance(given, ExampleProtection) else ""
        name = f"clip {given.clip_norm:g}{each}, noise {given.noise_multiplier:.3g}"
        protections.append((name, given))
    found = []
    start = raw.rounds[0].params
    for name, protection in protections:
        for batch in effort.batches if dense else ():
            found.append(_first_layer(scenario, start, name, protection, batch, seeds, effort))
            if len(Perceptron.of(scenario.model).layers) > 1:
                found.append(_imprint(scenario, name, protection, batch, seeds, effort))
        if effort.inverted and _is_torch(scenario.model) and len(scenario.public.input_shape) == 3:
            found.append(_inverted(scenario, start, name, protection, seeds, effort))
    return tuple(found)


def _first_layer(
    scenario: PrivacyScenario,
    params: F32,
    name: str,
    protection: Protection | None,
    batch: int,
    seeds: Seeds,
    effort: Effort,
) -> Reconstruction:
    attack, plan, labels = FirstLayer(), _one_step(scenario.training, batch), []
    draws = []
    for number in range(effort.draws):
        victim, update = _update(scenario, params, plan, protection, batch, seeds.under("first", number))
        draws.append((victim, attack.guesses(scenario.model, update)))
        counts = restore_labels(scenario.model, params, update, plan, batch, scenario.public)
        labels.append(label_score(victim.labels, counts))
    return _summed("first layer", attack.threat, name, batch, draws, float(np.mean(labels)), scenario.public)


def _imprint(
    scenario: PrivacyScenario, name: str, protection: Protection | None, batch: int, seeds: Seeds, effort: Effort
) -> Reconstruction:
    attack, plan = Imprint(), _one_step(scenario.training, batch)
    params = attack.broadcast(scenario.model, scenario.public, seeds.child("imprint"))
    draws = []
    for number in range(effort.draws):
        victim, update = _update(scenario, params, plan, protection, batch, seeds.under("imprint", number))
        draws.append((victim, attack.guesses(scenario.model, update)))
    return _summed("imprint", attack.threat, name, batch, draws, None, scenario.public)


def _inverted(
    scenario: PrivacyScenario, params: F32, name: str, protection: Protection | None, seeds: Seeds, effort: Effort
) -> Reconstruction:
    from ringfort.audit.inference.torch import InvertingGradients
    from ringfort.client.torch import TorchModel

    attack, plan, draws = InvertingGradients(), _one_step(scenario.training, 1), []
    if not isinstance(scenario.model, TorchModel):
        raise Incompatible("gradients can be inverted through torch models only")
    for number in range(effort.inverted):
        victim, update = _update(scenario, params, plan, protection, 1, seeds.under("inverted", number))
        rng, shape = seeds.child("inverted", number, "start"), victim.input_shape
        draws.append((victim, attack.guesses(scenario.model, params, update, victim.labels, shape, plan, rng)))
    return _summed("inverting gradients", attack.threat, name, 1, draws, None, scenario.public)


def _one_step(training: LocalTraining, batch: int) -> LocalTraining:
    """The attacker's best case: one step on the whole batch."""
    return LocalTraining(1, batch, training.learning_rate, training.momentum, training.weight_decay)


def _update(
    scenario: PrivacyScenario, params: F32, plan: LocalTraining, protection: Protection | None, batch: int, seeds: Seeds
) -> tuple[Dataset, F32]:
    rng = seeds.child("victim")
    held = scenario.clients[int(rng.integers(len(scenario.clients)))]
    victim = held.take(rng.permutation(len(held))[:batch])
    return victim, protected_update(scenario.model, params, victim, plan, protection, rng, rng)


def _summed(
    attack: str,
    threat: InferenceThreat,
    protection: str,
    batch: int,
    draws: list[tuple[Dataset, F64]],
    labels: float | None,
    public: Dataset,
) -> Reconstruction:
    mean = public.floats().astype(np.float64).mean(axis=0)
    truths = [victim.floats().astype(np.float64) for victim, _ in draws]
    measured = [likeness(truth, guess, mean) for truth, (_, guess) in zip(truths, draws, strict=True)]
    parts = [one for one, _ in measured]
    together = Likeness(
        exact=float(np.mean([one.exact for one in parts])),
        recognisable=float(np.mean([one.recognisable for one in parts])),
        psnr=float(np.mean([one.psnr for one in parts])),
        ssim=None if parts[0].ssim is None else float(np.mean([one.ssim for one in parts])),
        baseline_psnr=float(np.mean([one.baseline_psnr for one in parts])),
        baseline_ssim=None if parts[0].ssim is None else float(np.mean([one.baseline_ssim for one in parts])),
    )
    return Reconstruction(attack, threat, protection, batch, together, labels, truths[0][:8], measured[0][1][:8])


def _properties(scenario: PrivacyScenario, raw: Observation, seeds: Seeds, effort: Effort) -> PropertyFinding | None:
    if scenario.wanted is None:
        return None
    return PropertyAttack(effort.shadows).run(
        scenario.model,
        scenario.wanted,
        (scenario.public, scenario.others),
        scenario.training,
        (raw.rounds[-1].params,),
        effort.targets,
        seeds,
        scenario.protection,
    )


def _not_covered(scenario: PrivacyScenario, dense: bool, effort: Effort) -> tuple[str, ...]:
    said = [
        "An attack that fails here is not proof of privacy; only a claim with a proof and an audit is close to one.",
        "Shadow attacks on the final model (LiRA, RMIA) belong to the deep tier and were not run.",
        "Reconstruction was tried on one local step, the attacker's best case; more steps make it harder.",
    ]
    if scenario.claim is None:
        said.append("Nothing is claimed, so no ceiling stands beside the rates.")
    if not dense:
        said.append("The model is no perceptron: update cosines and first-layer attacks were not run.")
    if effort.inverted and not _is_torch(scenario.model):
        said.append("The model is no torch module: gradients were not inverted.")
    if scenario.wanted is None:
        said.append("No property was named, so none was inferred.")
    return tuple(said)


def _is_perceptron(model: Model) -> bool:
    try:
        Perceptron.of(model)
    except Incompatible:
        return False
    return True


def _is_torch(model: Model) -> bool:
    return type(model).__module__ == "ringfort.client.torch"  # does not import torch to find out


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value
