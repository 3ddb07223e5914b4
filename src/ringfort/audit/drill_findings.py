"""A drill's table as findings: one for each attack and wall."""

from __future__ import annotations

from typing import Final

from ringfort.audit.finding import Finding, Measured, Severity, Status, Taxonomy
from ringfort.audit.results import AttackCard, Cell, DrillResult, Interval, Outcome, WallCard

__all__ = ["drill_findings", "taxonomy_of"]

_POISONED_DATA: Final = Taxonomy(("AML.T0020", "AML.T0059"), ("ML02:2023",), ("2.3.1", "2.3.2"))
_BYZANTINE: Final = Taxonomy(("AML.T0031", "AML.T0029"), ("ML10:2023",), ("2.3.4",))
_BACKDOOR: Final = Taxonomy(("AML.T0018.000", "AML.T0043.004"), ("ML10:2023", "ML02:2023"), ("2.3.3",))

_STATUS: Final = {
    Outcome.HOLDS: Status.PASS,
    Outcome.FALLS: Status.FAIL,
    Outcome.UNTESTED: Status.INCONCLUSIVE,
    Outcome.ERROR: Status.ERROR,
}
_RUIN: Final = 0.5
"""A backdoor that works every other time, or half of the accuracy gone: the model is the attacker's."""


def taxonomy_of(attack: AttackCard) -> Taxonomy:
    """Where an attack is filed, by what it controls and whether it has a target."""
    if not attack.targeted:
        return _BYZANTINE if any("update" in one for one in attack.controls) else _POISONED_DATA
    return _POISONED_DATA if "flip" in attack.name else _BACKDOOR


def drill_findings(result: DrillResult) -> tuple[Finding, ...]:
    """One finding per attack and wall, row by row, without the row in which nobody attacks.

    A wall that falls is high, and critical if the attack succeeds in half of its tries or costs half of the accuracy.
    The undefended reference is no wall: that it falls is information.
    """
    return tuple(
        _finding(result, attack, wall, result.cell(attack.name, wall.name), reference=wall is result.walls[0])
        for attack in result.attacks
        for wall in result.walls
    )


def _finding(result: DrillResult, attack: AttackCard, wall: WallCard, cell: Cell, *, reference: bool) -> Finding:
    status = Status.ERROR if cell.outcome is None else _STATUS[cell.outcome]
    said = {
        Status.PASS: "holds against",
        Status.FAIL: "falls to",
        Status.INCONCLUSIVE: "was not tested by",
        Status.ERROR: "has no result against",
    }[status]
    return Finding(
        check=f"drill/{attack.name}",
        severity=_severity(cell, status, reference),
        what=f"{wall.label} {said} {attack.title}",
        why=cell.why,
        fix=_fix(attack, wall, status, reference),
        status=status,
        attack=attack.name,
        defence=wall.label,
        measured=_measured(result, cell),
        seeds=result.seeds,
        clients=result.hostile,
        command=result.manifest.command,
        taxonomy=taxonomy_of(attack),
        limits=wall.does_not_protect,
        evidence=tuple(
            f"sha256:{trial.model} final model, seed {trial.seed}"
            for trial in result.trials
            if (trial.attack, trial.wall) == (attack.name, wall.name) and trial.model
        ),
    )


def _severity(cell: Cell, status: Status, reference: bool) -> Severity:
    if reference or status is not Status.FAIL:
        return Severity.INFO
    harm = [interval.high for interval in (cell.attack_success, cell.accuracy_loss) if interval is not None]
    return Severity.CRITICAL if max(harm, default=0.0) >= _RUIN else Severity.HIGH


def _measured(result: DrillResult, cell: Cell) -> tuple[Measured, ...]:
    limits, out = result.thresholds, []

    def add(metric: str, value: Interval | None, threshold: float, baseline: float | None) -> None:
        if value is not None:
            out.append(Measured(metric, value.mean, value.low, value.high, threshold, baseline))

    add("accuracy lost against the unattacked mean", cell.accuracy_loss, limits.accuracy_loss, 0.0)
    add("attack success", cell.attack_success, limits.attack_success, cell.base_rate)
    return tuple(out)


def _fix(attack: AttackCard, wall: WallCard, status: Status, reference: bool) -> str:
    if status is Status.PASS:
        return "Nothing to do; drill again when data, clients or training change."
    if status is Status.INCONCLUSIVE:
        return (
            "Make the attack stronger (more attackers, more rounds, larger scale) until it breaks the undefended mean."
        )
    if status is Status.ERROR:
        return "Read the reason, mend the recipe, and run the drill again."
    if reference:
        return "Use one of the walls that hold."
    chain = "" if wall.name.startswith("nnm") else ", `nnm | trimmed-mean` among them"
    if attack.targeted:
        return f"Try another wall{chain}; put a watch before it, and audit the model before its release."
    return f"Try another wall{chain}, or enlarge the cohort and f."
