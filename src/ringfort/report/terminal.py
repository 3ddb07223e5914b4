"""Results as rich renderables. All text is cleaned `Text`, never markup: no client's name can paint the screen."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringfort.audit.results import NO_ATTACK, Cell, ClientRow, DrillResult, Outcome, TrainResult, WatchReport
from ringfort.report.summary import caveats, train_verdict, verdict
from ringfort.report.watching import caught, notable, standings_sentence, watched_walls
from ringfort.report.words import (
    NOTHING,
    clean,
    count,
    drill_sanitised,
    duration,
    interval,
    outcome_word,
    percent,
    price,
    sanitised_sentences,
    thresholds_sentence,
    trial_label,
)

__all__ = ["drill_summary", "drill_table", "train_summary"]

_STYLES = {
    Outcome.HOLDS: "bold green",
    Outcome.FALLS: "bold red",
    Outcome.UNTESTED: "yellow",
    Outcome.ERROR: "bold magenta",
}
_MOST_CLIENTS = 20


def drill_table(result: DrillResult) -> RenderableType:
    """Attacks down, walls across; a cell gives accuracy, attack success where there is one, and the outcome's word."""
    table = _table("attack", lines=True)
    for wall in result.walls:
        table.add_column(_wall_head(wall.label), overflow="fold")
    titles = {NO_ATTACK: "no attack"} | {a.name: a.title for a in result.attacks}
    for attack, title in titles.items():
        cells = [_cell(result.cell(attack, wall.name), first=i == 0) for i, wall in enumerate(result.walls)]
        table.add_row(Text(clean(title)), *cells)
    return table


def _table(first: str, *, lines: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_lines=lines, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(Text(first), overflow="fold")
    return table


def _wall_head(label: str) -> Text:
    """A rule over its parameters, so that narrow columns break there and not inside a word."""
    name, bracket, parameters = clean(label).removesuffix("()").partition("(")
    return Text(name + ("\n" if bracket else "") + bracket + parameters)


def _cell(cell: Cell, *, first: bool) -> Text:
    if cell.accuracy is None:
        return Text(outcome_word(cell.outcome).upper() or NOTHING, _style(cell.outcome))
    lines = [Text(interval(cell.accuracy))]
    if cell.attack_success is not None:
        lines.append(Text(f"success {interval(cell.attack_success)}"))
    if cell.durability is not None:
        lines.append(Text(f"lasts {cell.durability.mean:.0f} rounds"))
    if cell.outcome is not None:
        lines.append(Text(outcome_word(cell.outcome).upper(), _style(cell.outcome)))
    else:
        lines.append(Text("the reference" if first else price(cell.accuracy_loss), "dim"))
    return Text("\n").join(lines)


def _style(outcome: Outcome | None) -> str:
    return "" if outcome is None else _STYLES[outcome]


def drill_summary(result: DrillResult) -> RenderableType:
    """Verdict, table, findings, thresholds, trials without a result, and what the drill does not cover."""
    setting = (
        f"{len(result.hostile)} of {len(result.clients)} clients hostile, {result.rounds} rounds, "
        f"{_seeds(result)}, {duration(result.seconds)}"
    )
    errors = [f"{trial_label(t, result)}: {t.error}" for t in result.trials if t.error is not None]
    return Group(
        *_head(result.title, verdict(result), setting),
        *(Text(clean(c), "yellow") for c in caveats(result)),
        Text(""),
        drill_table(result),
        Text(""),
        Text(
            "Each cell: accuracy and success of a targeted attack, averaged over the last rounds; the outcome.", "dim"
        ),
        Text(thresholds_sentence(result.thresholds, result.rounds), "dim"),
        *_bullets("Quarantined by the watch", _caught(result)),
        *_bullets("Findings", result.findings),
        *_bullets("Trials without a result", errors),
        *(
            line
            for what, said in drill_sanitised(result)
            for line in _bullets(f"Set aside before training: {what}", said)
        ),
        *_bullets("Not covered", result.not_covered),
    )


def train_summary(result: TrainResult) -> RenderableType:
    """Verdict, recall, the clients that stood out, and what the run does not cover."""
    setting = f"run {result.run}, {count(result.d)} parameters, {duration(result.seconds)}"
    recall = ", ".join(f"{name} {percent(value)}" for name, value in zip(result.classes, result.recall, strict=True))
    return Group(
        *_head(result.title, train_verdict(result), setting),
        Text(""),
        Text(clean(f"Recall per class: {recall}")),
        *_clients(result.clients),
        *_bullets("Set aside before training", sanitised_sentences(result.sanitised)),
        *_watch(result.watch),
        *_bullets("Protected", result.protections),
        *_bullets("Not covered", (*result.not_covered, f"The wall: {result.wall.does_not_protect}")),
        Text(""),
        Text(clean(f"model {result.model}"), "dim"),
        Text(clean(f"journal head {result.journal_head}"), "dim"),
    )


def _clients(rows: tuple[ClientRow, ...]) -> list[RenderableType]:
    notable = [c for c in rows if c.rounds_left_out or c.refusals or c.failures]
    notable.sort(key=lambda c: (c.rounds_left_out, c.refusals, c.failures), reverse=True)
    if not notable:
        return [Text(""), Text(f"All {len(rows)} clients were accepted in every round.")]
    table = _table("client")
    for head in ("asked", "accepted", "left out", "refused", "failed", "share"):
        table.add_column(Text(head), justify="right")
    table.add_column(Text("last reason"), overflow="fold")
    for c in notable[:_MOST_CLIENTS]:
        numbers = (c.rounds_asked, c.rounds_accepted, c.rounds_left_out, c.refusals, c.failures)
        table.add_row(
            Text(clean(c.client)),
            *(Text(count(v)) for v in numbers),
            Text(percent(c.mean_share)),
            Text(clean(c.last_reason)),
        )
    shown = f", {_MOST_CLIENTS} of them here" if len(notable) > _MOST_CLIENTS else ""
    note = f"{len(notable)} of {len(rows)} clients were left out, refused or failed at least once{shown}."
    return [Text(""), table, Text(note, "dim")]


def _watch(watch: WatchReport | None) -> list[RenderableType]:
    if watch is None:
        return []
    shown = notable(watch)
    table = _table("client")
    for head in ("standing", "reputation", "quarantines", "last change"):
        table.add_column(Text(head), overflow="fold")
    for one in shown[:_MOST_CLIENTS]:
        last = one.changes[-1]
        cells = (
            one.standing,
            NOTHING if one.reputation is None else f"{one.reputation:.2f}",
            count(one.quarantines),
            f"round {last.round}: {'; '.join(last.reasons)}",
        )
        table.add_row(Text(clean(one.client)), *(Text(clean(cell)) for cell in cells))
    return [Text(""), Text(clean(standings_sentence(watch))), *([table] if shown else [])]


def _caught(result: DrillResult) -> list[str]:
    titles = {NO_ATTACK: "no attack"} | {a.name: a.title for a in result.attacks}
    return [
        f"{label}, {title}: {caught(result, attack, wall)}"
        for wall, label in watched_walls(result)
        for attack, title in titles.items()
    ]


def _head(title: str, sentence: str, setting: str) -> list[RenderableType]:
    return [Text(clean(title), "bold"), Text(clean(sentence)), Text(clean(setting), "dim")]


def _bullets(head: str, sentences: tuple[str, ...] | list[str]) -> list[RenderableType]:
    if not sentences:
        return []
    rows = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences:
        rows.add_row(Text("-"), Text(clean(sentence), overflow="fold"))
    return [Text(""), Text(head, "bold"), rows]


def _seeds(result: DrillResult) -> str:
    return "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds (mean and range)"
