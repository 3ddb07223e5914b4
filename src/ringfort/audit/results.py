"""What a drill and a training run leave behind, as plain values that reports draw and JSON stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

__all__ = [
    "NO_ATTACK",
    "AttackCard",
    "Cell",
    "ClientRow",
    "ClientStanding",
    "DrillResult",
    "Interval",
    "Manifest",
    "Outcome",
    "Point",
    "SanitisedRow",
    "StandingChange",
    "Thresholds",
    "TrainResult",
    "Trial",
    "WallCard",
    "WatchReport",
]

NO_ATTACK = "none"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything needed to run it again: written beside every result."""

    ringfort: str
    python: str
    platform: str
    packages: dict[str, str]
    seed: int
    data: dict[str, str]
    """Data set name, licence, origin, kind, and the digests of its train and test parts."""
    recipe: dict[str, Any]
    """The resolved recipe: every key, defaults and overrides included."""
    recipe_digest: str
    command: str


@dataclass(frozen=True, slots=True)
class AttackCard:
    """One attack as the report introduces it."""

    name: str
    title: str
    parameters: dict[str, Any]
    goal: str
    knows: tuple[str, ...]
    controls: tuple[str, ...]
    colludes: bool
    metric: str
    """What attack_success means, in words; empty for an untargeted attack, whose harm is lost accuracy."""
    source: str
    targeted: bool


@dataclass(frozen=True, slots=True)
class WallCard:
    """One wall (a defence) as the report introduces it."""

    name: str
    label: str
    """The rule with its parameters, as `TrimmedMean(f=4)`."""
    bears: int
    """Attackers it can stand at this drill's cohort size; 0 for the undefended mean."""
    source: str
    does_not_protect: str


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluated round. attack_success is None where no targeted attack is measured."""

    round: int
    accuracy: float
    attack_success: float | None


@dataclass(frozen=True, slots=True)
class SanitisedRow:
    """What one client set aside before it trained. Counts only: which rows they are, their owner alone learns."""

    client: str
    rows: int
    set_aside: int
    by_check: dict[str, int]
    """Rows per check; one row can count for several."""
    excess: tuple[str, ...]
    """Why a person must look first; empty if nobody needs to."""
    trains: bool
    """False: it trains nothing until then."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One federation of a drill: one attack against one wall with one seed."""

    attack: str
    wall: str
    seed: int
    curve: tuple[Point, ...]
    accuracy: float
    """Main accuracy on the whole test set, in [0, 1], averaged over the last rounds (`drill.SETTLED`)."""
    attack_success: float | None
    """On the whole test set, averaged over the same rounds; None for untargeted attacks and for no attack."""
    base_rates: dict[str, float]
    """Only for NO_ATTACK: each targeted attack's measure on this clean federation, what chance alone gives."""
    recall: tuple[float, ...]
    """Per class, of the final model."""
    attacker_share: float | None
    """Mean share of the aggregate that hostile clients held over the rounds; f/n under the plain mean."""
    refusals: int
    failures: int
    seconds: float
    model: str
    """Digest of the final model."""
    error: str | None = None
    """Why this trial has no result, if it has none; the numbers are then meaningless and never shown."""
    sanitised: tuple[SanitisedRow, ...] = ()
    """The clients that sanitised their data; hostile owners do not."""
    attackers_quarantined: int | None = None
    """Hostile clients that the watch ever quarantined; None without a watch."""
    honest_quarantined: int | None = None
    """Honest clients that it ever quarantined."""
    worst_client: float | None = None
    """Of the final model: the smallest accuracy that any honest client sees on its own rows."""
    durability: int | None = None
    """Rounds in a row, after the last hostile one, in which the attack still succeeds in half of its tries or more; as
    many as there were left means at least that. None if the attackers never stop."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with the smallest and largest value seen."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Interval:
        """Mean and range of at least one value."""
        seen = list(values)
        return cls(sum(seen) / len(seen), min(seen), max(seen))


class Outcome(Enum):
    """What a cell of the drill's table says. Nothing but HOLDS ever counts as a pass."""

    HOLDS = "holds"
    FALLS = "falls"
    UNTESTED = "untested"
    """The attack did not hurt the undefended mean, so nothing can be said about the wall."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a wall holds: all of it, for every seed.

    Args:
        accuracy_loss: main accuracy lost against the unattacked, undefended run with the same seed, at most this.
        attack_success: at most this, for targeted attacks.
    """

    accuracy_loss: float
    attack_success: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack against one wall, over all seeds. `outcome` is None in the no-attack row, which sets the reference."""

    attack: str
    wall: str
    accuracy: Interval | None
    accuracy_loss: Interval | None
    """Against the unattacked mean with the same seed; in the no-attack row this is the wall's price."""
    attack_success: Interval | None
    base_rate: float | None
    attacker_share: float | None
    outcome: Outcome | None
    why: str
    """One sentence with the numbers that decided."""
    worst_client: Interval | None = None
    """The smallest accuracy that any honest client sees on its own rows."""
    durability: Interval | None = None
    """Rounds that the attack outlives its attackers by; None if they never stop."""


@dataclass(frozen=True, slots=True)
class DrillResult:
    """A whole drill: every attack against every wall."""

    title: str
    created: str
    """UTC, ISO 8601."""
    manifest: Manifest
    clients: tuple[str, ...]
    """Everyone's names, in the order of `label_counts`."""
    hostile: tuple[str, ...]
    """With the first seed; other seeds draw others."""
    rounds: int
    d: int
    classes: tuple[str, ...]
    label_counts: tuple[tuple[int, ...], ...]
    """(clients, classes): how the training data was split."""
    seeds: tuple[int, ...]
    thresholds: Thresholds
    attacks: tuple[AttackCard, ...]
    walls: tuple[WallCard, ...]
    """The first is the undefended mean."""
    trials: tuple[Trial, ...]
    cells: tuple[Cell, ...]
    """Row by row: NO_ATTACK first, then the attacks; in each row the walls in order."""
    findings: tuple[str, ...]
    """What the table shows, as sentences, the most important first."""
    not_covered: tuple[str, ...]
    """What this drill does not say, as sentences."""
    seconds: float

    def cell(self, attack: str, wall: str) -> Cell:
        """The cell of one attack and one wall."""
        return next(c for c in self.cells if (c.attack, c.wall) == (attack, wall))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under a versioned schema name."""
        return {"schema": "ringfort-drill/1", **_plain(asdict(self))}


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One client over a training run."""

    client: str
    examples: int
    rounds_asked: int
    rounds_accepted: int
    rounds_left_out: int
    refusals: int
    failures: int
    mean_share: float
    last_reason: str


@dataclass(frozen=True, slots=True)
class StandingChange:
    """One change of a client's standing, with its reasons and the evidence in sentences (none: a person decided)."""

    round: int
    before: str
    after: str
    reasons: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientStanding:
    """Where one client stands at the end of a run, and how it got there."""

    client: str
    standing: str
    reputation: float | None
    quarantines: int
    changes: tuple[StandingChange, ...]


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What the watch made of a run."""

    alpha: float
    """The share of honest clients that may ever be quarantined."""
    detectors: tuple[str, ...]
    promised: tuple[str, ...]
    """Those that may quarantine."""
    reputation: str
    standings: dict[str, int]
    """How many clients stand where at the end."""
    clients: tuple[ClientStanding, ...]
    refused: tuple[str, ...]
    """People's decisions that could not be applied, in sentences."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A training run: the model, how it got there and what every client had to do with it."""

    title: str
    created: str
    manifest: Manifest
    run: str
    rounds: int
    d: int
    classes: tuple[str, ...]
    label_counts: tuple[tuple[int, ...], ...]
    wall: WallCard
    curve: tuple[Point, ...]
    accuracy: float
    recall: tuple[float, ...]
    clients: tuple[ClientRow, ...]
    model: str
    """Digest of the model file: what sha256sum prints."""
    journal_head: str
    """Digest of the last round record."""
    budget_spent: tuple[tuple[int, float], ...]
    """(round, share of the privacy budget spent by then, in [0, 1]) of whoever spent most; empty without a budget."""
    protections: tuple[str, ...]
    """What protected the clients from the servers, in sentences; empty if nothing did."""
    not_covered: tuple[str, ...]
    seconds: float
    sanitised: tuple[SanitisedRow, ...] = ()
    """What every client set aside before it trained; empty without [sanitise]."""
    watch: WatchReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under a versioned schema name."""
        return {"schema": "ringfort-train/1", **_plain(asdict(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
