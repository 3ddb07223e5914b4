"""From trials to a table: the only place that decides whether a wall holds."""

from __future__ import annotations

from collections.abc import Iterable

from ringfort.audit.results import NO_ATTACK, AttackCard, Cell, Interval, Outcome, Thresholds, Trial, WallCard

__all__ = ["findings", "judge"]


def judge(
    trials: Iterable[Trial], attacks: Iterable[AttackCard], walls: Iterable[WallCard], limits: Thresholds
) -> tuple[Cell, ...]:
    """One cell per attack and wall, over all seeds, NO_ATTACK first. The first wall is the undefended reference.

    A wall holds if, for every seed, main accuracy is within `limits.accuracy_loss` of the unattacked reference with the
    same seed and a targeted attack succeeds at most as often as `limits.attack_success`. If the attack leaves the
    reference itself within these limits for any seed, nothing is said about the walls: UNTESTED.
    """
    walls, attacks = tuple(walls), tuple(attacks)
    by = {(t.attack, t.wall, t.seed): t for t in trials}
    seeds = sorted({seed for _, _, seed in by})
    reference = walls[0].name
    clean = {seed: by[NO_ATTACK, reference, seed] for seed in seeds}
    cells: list[Cell] = []
    for attack in (None, *attacks):
        name = attack.name if attack else NO_ATTACK
        undefended = [by[name, reference, seed] for seed in seeds]
        unknown = next((error for t in undefended if (error := _error(t, clean[t.seed]))), None)
        hurt = all(_breaches(t, clean[t.seed], limits) for t in undefended)
        cells += [
            _cell([by[name, wall.name, s] for s in seeds], clean, attack, wall, limits, unknown, hurt, by)
            for wall in walls
        ]
    return tuple(cells)


def _error(trial: Trial, clean: Trial) -> str | None:
    return trial.error or (f"the unattacked reference failed: {clean.error}" if clean.error else None)


def _breaches(trial: Trial, clean: Trial, limits: Thresholds) -> str:
    """In words, how this trial breaks the limits; empty if it does not."""
    loss = round(clean.accuracy - trial.accuracy, 9)  # 1 - 0.95 is more than 0.05 in floating point
    parts = []
    if loss > limits.accuracy_loss:
        parts.append(f"{100 * loss:.1f} points of accuracy lost, allowed {100 * limits.accuracy_loss:.1f}")
    if trial.attack_success is not None and round(trial.attack_success, 9) > limits.attack_success:
        parts.append(
            f"the attack succeeds in {100 * trial.attack_success:.1f}% of its tries, allowed "
            f"{100 * limits.attack_success:.1f}%"
        )
    return " and ".join(parts)


def _cell(
    trials: list[Trial],
    clean: dict[int, Trial],
    attack: AttackCard | None,
    wall: WallCard,
    limits: Thresholds,
    unknown: str | None,
    hurt: bool,
    by: dict[tuple[str, str, int], Trial],
) -> Cell:
    name = attack.name if attack else NO_ATTACK
    errors = [error for t in trials if (error := _error(t, clean[t.seed]))]
    if unknown and not errors:
        errors = [f"without the undefended mean's result there is nothing to compare with: {unknown}"]
    if errors:
        outcome = Outcome.ERROR if attack else None
        return Cell(name, wall.name, None, None, None, None, None, outcome, errors[0])
    breaches = [text for t in trials if (text := _breaches(t, clean[t.seed], limits))]
    targeted = attack is not None and attack.targeted
    if attack is None:
        outcome, why = None, "no attack: the reference" if wall.bears == 0 else "no attack: what the wall costs"
    elif breaches:
        outcome, why = Outcome.FALLS, breaches[0]
    elif not hurt:
        outcome, why = Outcome.UNTESTED, "the attack did not break the undefended mean, so it tests nothing here"
    else:
        outcome, why = Outcome.HOLDS, "within both limits for every seed"
    base = [by[NO_ATTACK, wall.name, t.seed].base_rates.get(name) for t in trials]
    known = [rate for rate in base if rate is not None]
    shares = [t.attacker_share for t in trials if t.attacker_share is not None]
    return Cell(
        attack=name,
        wall=wall.name,
        accuracy=Interval.of(t.accuracy for t in trials),
        accuracy_loss=Interval.of(clean[t.seed].accuracy - t.accuracy for t in trials),
        attack_success=Interval.of(t.attack_success or 0.0 for t in trials) if targeted else None,
        base_rate=sum(known) / len(known) if targeted and known else None,
        attacker_share=sum(shares) / len(shares) if shares else None,
        outcome=outcome,
        why=why,
        worst_client=_interval(t.worst_client for t in trials),
        durability=_interval(t.durability for t in trials),
    )


def _interval(values: Iterable[float | None]) -> Interval | None:
    """Of values that are all there."""
    seen = list(values)
    known = [value for value in seen if value is not None]
    return Interval.of(known) if len(known) == len(seen) else None


def findings(cells: Iterable[Cell], attacks: Iterable[AttackCard], walls: Iterable[WallCard]) -> tuple[str, ...]:
    """What the table shows, in sentences, the most important first."""
    walls, attacks, table = tuple(walls), tuple(attacks), {(c.attack, c.wall): c for c in cells}
    out: list[str] = []
    broken = [a for a in attacks if table[a.name, walls[0].name].outcome is Outcome.FALLS]
    out += [
        f"{attack.title} breaks the undefended {walls[0].name}: {table[attack.name, walls[0].name].why}."
        for attack in broken
    ]
    out += [
        f"{attack.title} did not break the undefended {walls[0].name} here, so this drill says nothing about walls "
        "against it."
        for attack in attacks
        if table[attack.name, walls[0].name].outcome is Outcome.HOLDS
        or table[attack.name, walls[0].name].outcome is Outcome.UNTESTED
    ]
    out += [
        f"{attack.title}: once its attackers stop, it goes on working for {_rounds(table, attack.name, walls)}."
        for attack in attacks
        if any(c.durability is not None and c.durability.mean > 0 for c in (table[attack.name, w.name] for w in walls))
    ]
    for wall in walls[1:]:
        row = [table[a.name, wall.name] for a in broken]
        holds = [c.attack for c in row if c.outcome is Outcome.HOLDS]
        falls = [c for c in row if c.outcome is Outcome.FALLS]
        cost = _price(table[NO_ATTACK, wall.name])
        if row and len(holds) == len(row):
            out.append(f"{wall.label} holds against {_and(holds)}{cost}.")
        elif holds and not falls:
            out.append(f"{wall.label} holds against {_and(holds)}{cost}; against the others it has no result.")
        elif falls:
            reasons = _and([f"{c.attack} ({c.why})" for c in falls])
            also = f" It holds against {_and(holds)}." if holds else ""
            out.append(f"{wall.label} falls to {reasons}{cost}.{also}")
    out += [f"{c.attack} x {c.wall} has no result: {c.why}." for c in table.values() if c.outcome is Outcome.ERROR]
    return tuple(out)


def _rounds(table: dict[tuple[str, str], Cell], attack: str, walls: Iterable[WallCard]) -> str:
    lasts = [(wall.label, table[attack, wall.name].durability) for wall in walls]
    return _and([f"{found.mean:.0f} rounds behind {label}" for label, found in lasts if found is not None])


def _price(clean: Cell) -> str:
    if clean.accuracy_loss is None:
        return ""
    points = 100 * clean.accuracy_loss.mean
    if points < 0.05:
        return "; without attackers it costs no accuracy"
    return f"; without attackers it costs {points:.1f} points of accuracy"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
