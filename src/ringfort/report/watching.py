"""What the watch made of a run or a drill, in the words that the terminal and the page share."""

from __future__ import annotations

from collections.abc import Iterable

from ringfort.audit.results import ClientStanding, DrillResult, Trial, WatchReport
from ringfort.report.words import NOTHING, and_list, percent

__all__ = ["caught", "notable", "standings_sentence", "watch_sentences", "watched_walls"]

_NO_FLAG = (
    '"No flag" is not "no attacker": the watch sees what its detectors measure, and an attacker that looks ordinary in '
    "all of it keeps its good standing."
)


def standings_sentence(watch: WatchReport) -> str:
    """Where everybody stands, and how many were ever quarantined, in one line."""
    ever = sum(one.quarantines > 0 for one in watch.clients)
    stand = and_list([f"{number} {name}" for name, number in sorted(watch.standings.items())]) or "nobody yet"
    were = "1 client was" if ever == 1 else f"{ever or 'no'} clients were"
    return f"The watch: {stand}; {were} ever quarantined. {_NO_FLAG.partition(':')[0]}."


def watch_sentences(watch: WatchReport) -> tuple[str, ...]:
    """What it looks at, what it promises and what it does not, and decisions that were not applied."""
    return (
        f"Looked at: {and_list(list(watch.detectors))}. Quarantines rest on {and_list(list(watch.promised))} alone: at "
        f"most {percent(watch.alpha)} of honest clients are ever quarantined, if its assumption about them holds. "
        f"Reputations come from {watch.reputation!r}; a reputation alone bans nobody.",
        _NO_FLAG,
        *watch.refused,
    )


def notable(watch: WatchReport) -> tuple[ClientStanding, ...]:
    """Clients that were ever watched, quarantined or revoked, or about whom a person decided; the worst first."""
    odd = {"watched", "quarantined", "revoked", "probation"}
    shown = [one for one in watch.clients if odd & {change.after for change in one.changes}]
    return tuple(sorted(shown, key=lambda one: (-one.quarantines, one.reputation or 0.0, one.client)))


def watched_walls(result: DrillResult) -> tuple[tuple[str, str], ...]:
    """(name, label) of the walls with a watch."""
    names = {trial.wall for trial in result.trials if trial.honest_quarantined is not None}
    return tuple((wall.name, wall.label) for wall in result.walls if wall.name in names)


def caught(result: DrillResult, attack: str, wall: str) -> str:
    """Who was ever quarantined in these trials, over all seeds, as `3 of 4 attackers, 0 of 16 honest`."""
    trials = [t for t in result.trials if (t.attack, t.wall) == (attack, wall) and t.honest_quarantined is not None]
    if not trials:
        return NOTHING
    known = [trial.attackers_quarantined for trial in trials if trial.attackers_quarantined is not None]
    hostile = len(result.hostile) if known else 0
    honest = len(trials) * (len(result.clients) - hostile)
    said = f"{_sum(trials)} of {honest} honest"
    return f"{sum(known)} of {len(known) * hostile} attackers, {said}" if known else said


def _sum(trials: Iterable[Trial]) -> int:
    return sum(trial.honest_quarantined or 0 for trial in trials)
