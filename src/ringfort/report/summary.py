"""What a reader learns first: the verdict, the key numbers and the means over seeds behind every chart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringfort.audit.results import NO_ATTACK, Cell, DrillResult, Interval, Outcome, TrainResult, Trial, WallCard
from ringfort.report.words import NOTHING, and_list, count, duration, percent

__all__ = [
    "KeyNumber",
    "best_wall",
    "caveats",
    "finished",
    "key_numbers",
    "mean_curve",
    "mean_recall",
    "train_key_numbers",
    "train_verdict",
    "verdict",
    "verdict_outcome",
]

_WORST_LAST = (Outcome.HOLDS, Outcome.UNTESTED, Outcome.ERROR, Outcome.FALLS)


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """One large number of the page's top."""

    label: str
    value: str
    note: str


def _row(result: DrillResult, wall: WallCard) -> list[Cell]:
    return [c for c in result.cells if c.wall == wall.name and c.attack != NO_ATTACK]


def _tally(result: DrillResult, wall: WallCard) -> Counter[Outcome]:
    return Counter(c.outcome for c in _row(result, wall) if c.outcome is not None)


def _lowest(cells: Iterable[Cell]) -> Interval | None:
    return min((c.accuracy for c in cells if c.accuracy is not None), key=lambda i: i.mean, default=None)


def _highest(cells: Iterable[Cell]) -> Interval | None:
    return max((c.attack_success for c in cells if c.attack_success is not None), key=lambda i: i.mean, default=None)


def best_wall(result: DrillResult) -> WallCard | None:
    """The wall that holds most often, then falls least often, then keeps most accuracy in its worst case."""

    def merit(wall: WallCard) -> tuple[int, int, float]:
        tally, lowest = _tally(result, wall), _lowest(_row(result, wall))
        return tally[Outcome.HOLDS], -tally[Outcome.FALLS], lowest.mean if lowest else 0.0

    return max(result.walls[1:], key=merit, default=None)


def verdict_outcome(result: DrillResult) -> Outcome:
    """The worst outcome of the best wall: one bad result is never averaged away."""
    wall = best_wall(result) or result.walls[0]
    return max(_tally(result, wall), key=_WORST_LAST.index, default=Outcome.UNTESTED)


def verdict(result: DrillResult) -> str:
    """The whole drill in one sentence. Only HOLDS counts as holding."""
    total = len(result.attacks)
    if not total:
        return "No attack was drilled, so nothing can be said about any wall."
    succeed = _tally(result, result.walls[0])[Outcome.FALLS]
    without = f"without a wall, {_of(succeed, total)}"
    best = best_wall(result)
    if best is None:
        return f"No wall was drilled; {without}."
    sound = [w.label for w in result.walls[1:] if _tally(result, w)[Outcome.HOLDS] == total]
    if sound:
        who = and_list(sound) if len(sound) <= 2 else f"{len(sound)} of {len(result.walls) - 1} walls"
        return f"{who} {'holds' if len(sound) == 1 else 'hold'} against {_every(total)}; {without}."
    tally = _tally(result, best)
    parts = [
        f"{words} {tally[outcome]}"
        for outcome, words in ((Outcome.HOLDS, "holds against"), (Outcome.FALLS, "falls to"))
        if tally[outcome]
    ]
    unclear = tally[Outcome.UNTESTED] + tally[Outcome.ERROR]
    parts += [f"says nothing about {unclear}"] if unclear else []
    return f"No wall holds against {_every(total)}: the best, {best.label}, {and_list(parts)}; {without}."


def _every(total: int) -> str:
    return "the attack" if total == 1 else f"all {total} attacks"


def _of(succeed: int, total: int) -> str:
    if total == 1:
        return "it succeeds" if succeed else "it does not succeed"
    if succeed == total:
        return f"all {total} attacks succeed"
    return f"{succeed or 'none'} of the {total} attacks {'succeeds' if succeed <= 1 else 'succeed'}"


def caveats(result: DrillResult) -> tuple[str, ...]:
    """What weakens the verdict: attacks that tested nothing, and trials without a result."""
    untested = [a.title for a in result.attacks if _outcomes(result, a.name)[Outcome.UNTESTED]]
    failed = sum(t.error is not None for t in result.trials)
    said = []
    if untested:
        was = "was" if len(untested) == 1 else "were"
        said.append(
            f"Untested: {and_list(untested)} {was} not shown to break the undefended model, "
            "which proves nothing about a wall."
        )
    if failed:
        said.append(f"{failed} of {len(result.trials)} trials ended in an error and count as no result.")
    return tuple(said)


def _outcomes(result: DrillResult, attack: str) -> Counter[Outcome | None]:
    return Counter(c.outcome for c in result.cells if c.attack == attack)


def key_numbers(result: DrillResult) -> tuple[KeyNumber, ...]:
    """The numbers of the page's top: who is hostile, the clean model, and the worst case without and with a wall."""
    n, hostile = len(result.clients), len(result.hostile)
    best = best_wall(result)
    clean = result.cell(NO_ATTACK, result.walls[0].name).accuracy
    numbers = [
        KeyNumber("Hostile clients", f"{hostile} of {n}", f"{result.rounds} rounds, {_seeds(result)}"),
        KeyNumber("Clean accuracy", percent(clean.mean if clean else None), "no attack, no wall"),
        _change("Worst accuracy under attack", _lowest, result, best),
    ]
    if any(a.targeted for a in result.attacks):
        numbers.append(_change("Highest attack success", _highest, result, best))
    return tuple(numbers)


def _change(
    label: str, pick: Callable[[Iterable[Cell]], Interval | None], result: DrillResult, best: WallCard | None
) -> KeyNumber:
    """The worst case without and with the wall, over the same attacks: those where both have a result."""
    rows = [_row(result, wall) for wall in (result.walls[0], best) if wall is not None]
    known = {a.name for a in result.attacks}.intersection(*({c.attack for c in r if c.accuracy} for r in rows))
    values = [pick(c for c in row if c.attack in known) for row in rows]
    note = f"without a wall → behind {best.label}" if best else "without a wall"
    missing = len(result.attacks) - len(known)
    note += f"; {missing} of {len(result.attacks)} attacks without a result" if missing else ""
    return KeyNumber(label, " → ".join(percent(v.mean if v else None) for v in values), note)


def _seeds(result: DrillResult) -> str:
    return "1 seed" if len(result.seeds) == 1 else f"mean of {len(result.seeds)} seeds"


def finished(result: DrillResult, attack: str, wall: str) -> list[Trial]:
    """The trials of one cell that have a result."""
    return [t for t in result.trials if (t.attack, t.wall) == (attack, wall) and t.error is None]


def mean_curve(trials: Iterable[Trial], measure: str) -> tuple[tuple[int, Interval], ...]:
    """Mean and range over seeds of `accuracy` or `attack_success`, for every round that was evaluated."""
    seen: dict[int, list[float]] = {}
    for trial in trials:
        for point in trial.curve:
            value = getattr(point, measure)
            if value is not None and math.isfinite(value):
                seen.setdefault(point.round, []).append(value)
    return tuple((k, Interval.of(values)) for k, values in sorted(seen.items()))


def mean_recall(trials: list[Trial]) -> tuple[float, ...]:
    """Per class, the mean over seeds; empty if no trial has a result."""
    return tuple(sum(column) / len(trials) for column in zip(*(t.recall for t in trials), strict=True))


def train_verdict(result: TrainResult) -> str:
    """The whole training run in one sentence."""
    out = sum(c.rounds_left_out > 0 for c in result.clients)
    refused = sum(c.refusals > 0 for c in result.clients)
    return (
        f"After {result.rounds} rounds with {len(result.clients)} clients behind {result.wall.label} the model reaches "
        f"{percent(result.accuracy)} accuracy; {_clients(out)} left out of a round, and "
        f"{_clients(refused)} refused."
    )


def _clients(number: int) -> str:
    return "no client was" if not number else "1 client was" if number == 1 else f"{number} clients were"


def train_key_numbers(result: TrainResult) -> tuple[KeyNumber, ...]:
    """The numbers of the page's top."""
    shares = [c.mean_share for c in result.clients]
    known = [(r, name) for r, name in zip(result.recall, result.classes, strict=True) if math.isfinite(r)]
    weakest = min(known, default=(None, ""))
    equal = percent(1 / len(shares)) if shares else NOTHING
    return (
        KeyNumber("Accuracy", percent(result.accuracy), f"after {result.rounds} rounds, {duration(result.seconds)}"),
        KeyNumber("Weakest class", percent(weakest[0]), f"recall of {weakest[1]}" if weakest[1] else "no classes"),
        KeyNumber("Clients", count(len(result.clients)), f"the wall bears {result.wall.bears} hostile"),
        KeyNumber("Largest share", percent(max(shares, default=None)), f"of the aggregate; equal would be {equal}"),
    )
