"""The words and numbers that the terminal and the page share, so that both say the same thing the same way."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from ringfort.audit.results import DrillResult, Interval, Outcome, SanitisedRow, Thresholds, Trial

__all__ = [
    "NOTHING",
    "and_list",
    "clean",
    "cleaned",
    "count",
    "drill_sanitised",
    "duration",
    "interval",
    "outcome_word",
    "percent",
    "price",
    "range_of",
    "sanitised_sentences",
    "thresholds_sentence",
    "trial_label",
]

NOTHING = "–"
_REPLACED = {"Cc", "Cf", "Cs", "Co", "Cn"}
_BLANKS = {"Zl", "Zp"}
_LONGEST = 2000


def clean(text: object) -> str:
    r"""One line that cannot drive a terminal or reorder a page.

    Line breaks and tabs become spaces; every other control, format (text direction, zero width), private or
    unassigned character and every lone surrogate becomes U+FFFD, so that a reader sees that something stood there.
    Markup is left alone: whoever draws the text escapes it. Longer than 2000 characters is cut with an ellipsis.

    >>> clean("a\nb\x1b[31m\u202e")
    'a b�[31m�'
    """
    line = "".join(map(_harmless, str(text)[: _LONGEST + 1]))
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


def cleaned(value: Any) -> Any:
    """Plain JSON values with every string cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): cleaned(item) for key, item in value.items()}
    return [cleaned(item) for item in value] if isinstance(value, list | tuple) else value


def _harmless(character: str) -> str:
    if character.isprintable():
        return character
    category = unicodedata.category(character)
    if character in "\t\n\v\f\r" or category in _BLANKS:
        return " "
    return "\ufffd" if category in _REPLACED else character


def percent(value: float | None) -> str:
    """A fraction in per cent, or a dash for no number.

    >>> percent(0.9123), percent(None)
    ('91.2%', '–')
    """
    return NOTHING if value is None or not math.isfinite(value) else f"{_tenths(100 * value)}%"


def interval(value: Interval | None) -> str:
    """A mean in per cent with the range over seeds, where there is one.

    >>> interval(Interval(0.9, 0.88, 0.92)), interval(Interval(0.9, 0.9, 0.9))
    ('90.0% (88.0–92.0)', '90.0%')
    """
    if value is None:
        return NOTHING
    seen = range_of(value)
    return f"{percent(value.mean)} ({seen})" if seen else percent(value.mean)


def range_of(value: Interval) -> str:
    """The range over seeds in per cent, without the sign; empty where one number says it all.

    >>> range_of(Interval(0.9, 0.88, 0.92)), range_of(Interval(0.9, 0.9, 0.9))
    ('88.0–92.0', '')
    """
    if value.low == value.high or not math.isfinite(value.mean):
        return ""
    return f"{_tenths(100 * value.low)}–{_tenths(100 * value.high)}"


def price(loss: Interval | None) -> str:
    """Lost accuracy in percentage points, as words.

    >>> price(Interval(0.012, 0.012, 0.012)), price(Interval(-0.004, -0.01, 0.002))
    ('costs 1.2 points', 'gains 0.4 points (−0.2 to 1.0)')
    """
    if loss is None or not math.isfinite(loss.mean):
        return NOTHING
    gain = _tenths(100 * loss.mean).startswith("-")
    low, high = (-loss.high, -loss.low) if gain else (loss.low, loss.high)
    said = f"{'gains' if gain else 'costs'} {_tenths(100 * abs(loss.mean))} points"
    return said if low == high else f"{said} ({_signed(low)} to {_signed(high)})"


def _signed(value: float) -> str:
    return _tenths(100 * value).replace("-", "−")


def _tenths(value: float) -> str:
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text


def count(value: int) -> str:
    """An integer with its thousands apart.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{value:,}"


def duration(seconds: float) -> str:
    """A time span in at most two units.

    >>> duration(4.25), duration(75), duration(3720)
    ('4.2 s', '1 min 15 s', '1 h 2 min')
    """
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def and_list(items: list[str]) -> str:
    """Words joined as prose.

    >>> and_list(["a"]), and_list(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def outcome_word(outcome: Outcome | None) -> str:
    """The word of an outcome; empty for the no-attack row, which has none."""
    return "" if outcome is None else outcome.value


def thresholds_sentence(thresholds: Thresholds, rounds: int) -> str:
    """When a wall holds, in one sentence."""
    return (
        f"A wall holds against an attack if, for every seed, the model has in the last of {rounds} rounds lost at most "
        f"{_tenths(100 * thresholds.accuracy_loss)} points of accuracy against the unattacked, undefended run with the "
        f"same seed and, where the attack is targeted, the attack succeeds in at most "
        f"{percent(thresholds.attack_success)} of its tries."
    )


def trial_label(trial: Trial, result: DrillResult) -> str:
    """How a list names one trial: the seed only where there are several."""
    attack = next((a.title for a in result.attacks if a.name == trial.attack), "no attack")
    wall = next((w.label for w in result.walls if w.name == trial.wall), trial.wall)
    return f"{attack} × {wall}" + (f", seed {trial.seed}" if len(result.seeds) > 1 else "")


_MOST_SANITISED = 20


def sanitised_sentences(rows: tuple[SanitisedRow, ...]) -> list[str]:
    """What clients set aside before they trained: all together, then those with the largest shares."""
    if not rows:
        return []
    total, aside = sum(row.rows for row in rows), sum(row.set_aside for row in rows)
    stopped = sum(not row.trains for row in rows)
    asked = sum(bool(row.excess) for row in rows)
    out = [
        f"{len(rows)} clients set {count(aside)} of {count(total)} rows aside ({percent(aside / max(1, total))}); "
        f"{asked} of them are over a limit, so that a person must look, and {stopped} train nothing until then."
    ]
    ranked = sorted(rows, key=lambda row: -row.set_aside / max(1, row.rows))
    out += [
        f"{row.client}: {count(row.set_aside)} of {count(row.rows)} rows ({', '.join(_by_check(row))})"
        + ("" if row.trains else "; it does not train")
        for row in ranked[:_MOST_SANITISED]
        if row.set_aside or row.excess
    ]
    return out


def _by_check(row: SanitisedRow) -> list[str]:
    return [f"{check} {count(n)}" for check, n in row.by_check.items() if n] or ["no row, but the data as a whole"]


def drill_sanitised(result: DrillResult) -> list[tuple[str, list[str]]]:
    """(attack's title, sentences) for the first seed and wall: no attack, and attacks after which other rows went."""
    titles = {a.name: a.title for a in result.attacks}
    first = [t for t in result.trials if (t.seed, t.wall) == (result.seeds[0], result.walls[0].name) and t.sanitised]
    out: list[tuple[str, list[str]]] = []
    for trial in first:
        said = sanitised_sentences(trial.sanitised)
        if trial.attack not in titles or any(row.client in result.hostile for row in trial.sanitised):
            out.append((titles.get(trial.attack, "No attack"), said))
    return out
