"""The report about one model: its values, its page, its summary for a terminal, and the two files that hold it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from ringfort.audit.model import ModelAudit, Picture, Share, Verdict
from ringfort.audit.results import Manifest
from ringfort.core.values import F64
from ringfort.report.files import plain_json, write_parts
from ringfort.report.html import _provenance, _render, _safe
from ringfort.report.pictures import strip
from ringfort.report.summary import KeyNumber
from ringfort.report.terminal import _bullets, _head, _table
from ringfort.report.words import NOTHING, clean, duration, percent

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["ModelAuditResult", "model_audit_html", "model_audit_summary", "write_model_audit"]

_OUTCOMES: Final = {Verdict.FLAGGED: "falls", Verdict.NOT_FLAGGED: "untested", Verdict.INCONCLUSIVE: "untested"}
"""No verdict has the colour of success: nothing here proves that a model is good."""
_STYLES: Final = {
    Verdict.FLAGGED: "bold red",
    Verdict.NOT_FLAGGED: "bold",
    Verdict.INCONCLUSIVE: "bold yellow",
}


@dataclass(frozen=True, slots=True)
class ModelAuditResult:
    """An audit of a model with what is needed to run it again.

    Args:
        title: for the report.
        created: when, in ISO 8601.
        manifest: versions, data and command.
        file: the model file's name.
        digest: its SHA-256.
        audit: what was found.
        repair: how it was repaired, and the audit of what came out; None without a repair.
    """

    title: str
    created: str
    manifest: Manifest
    file: str
    digest: str
    audit: ModelAudit
    repair: tuple[str, ModelAudit] | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the audit's versioned schema name."""
        repair = None if self.repair is None else {"how": self.repair[0], "audit": self.repair[1].to_json()}
        about = {"title": self.title, "created": self.created, "file": self.file, "digest": self.digest}
        return {**self.audit.to_json(), **about, "repair": repair, "manifest": asdict(self.manifest)}


def write_model_audit(folder: Path, result: ModelAuditResult) -> list[Path]:
    """Write `report.html` and `report.json` into an existing folder.

    Returns:
        The two paths, in that order.

    Raises:
        OutputUnwritable (RF107): no permission, no space, no such folder.
    """
    parts = {"report.html": model_audit_html(result), "report.json": plain_json(result.to_json())}
    return write_parts(folder, parts)


def model_audit_html(result: ModelAuditResult) -> str:
    """The report as one HTML page, under the same guarantees as `drill_html`.

    The pictures in it are hold-out data: treat the page as the data.
    """
    found = result.audit
    return _render(
        "model.html.j2",
        result=result,
        found=found,
        outcome=_OUTCOMES[found.verdict],
        key_numbers=key_numbers(found),
        largest=max([row.size for row in found.masks], default=1.0),
        pictures=[_drawn(one, found) for one in found.pictures if one.originals.ndim == 4],
        after=None if result.repair is None else result.repair[1],
        after_outcome=None if result.repair is None else _OUTCOMES[result.repair[1].verdict],
        **_provenance(result.manifest),
    )


def key_numbers(found: ModelAudit) -> tuple[KeyNumber, ...]:
    """Accuracy, the smallest mask by each of its measures, and the strongest canary."""
    trusted = found.trusted_accuracy
    beside = "of hold-out data" if trusted is None else f"trusted model {percent(trusted.value)}"
    numbers = [KeyNumber("Accuracy", percent(found.accuracy.value), beside)]
    if found.masks:
        least = min(found.masks, key=lambda row: row.size)
        turned = f"turns {percent(least.success.value)} into {found.classes[least.label]}"
        numbers.append(KeyNumber("Smallest trigger", f"{least.size:.1f}", f"inputs replaced; {turned}"))
        numbers.append(KeyNumber("Anomaly index", number(least.index), f"{number(least.share)} of the median class"))
        ratios = [row.ratio for row in found.masks if row.ratio is not None]
        said = "smallest over the classes" if ratios else "no trusted model was given"
        numbers.append(KeyNumber("Ratio to the trusted model", number(min(ratios, default=None)), said))
    if found.canaries:
        worst = max(found.canaries, key=lambda one: one.excess)
        numbers.append(KeyNumber("Strongest known trigger", f"+{percent(worst.excess)}", worst.name))
    return tuple(numbers)


def number(value: float | None) -> str:
    """Two decimals, or a dash."""
    return NOTHING if value is None else f"{value:.2f}"


def span(value: Share) -> str:
    """An interval in per cent, without the sign."""
    return f"{100 * value.low:.1f}–{100 * value.high:.1f}"


def _drawn(one: Picture, found: ModelAudit) -> dict[str, str | Markup]:
    """Three rows of pictures: originals, the mask, the stamped inputs. Their addresses are finished markup."""
    name = found.classes[one.label]
    row = found.masks[one.label]
    mask: F64 = np.broadcast_to(one.mask, (1, *one.mask.shape)).astype(np.float64)
    low, high = float(one.originals.min()), float(max(one.originals.max(), one.stamped.max()))
    return {
        "caption": f"The smallest trigger found for {name}",
        "numbers": f"It replaces {row.size:.1f} inputs and turns {percent(row.success.value)} "
        f"({span(row.success)}) of other hold-out inputs into {name}",
        "originals": _safe(strip(_scaled(one.originals, low, high))),
        "mask": _safe(strip(mask)),
        "stamped": _safe(strip(_scaled(one.stamped, low, high))),
    }


def _scaled(images: Any, low: float, high: float) -> F64:
    out: F64 = (np.asarray(images, dtype=np.float64) - low) / max(high - low, 1e-9)
    return out


def model_audit_summary(result: ModelAuditResult) -> RenderableType:
    """Verdict, reasons, masks, canaries, drift, slices, the repair, and what is not covered."""
    found = result.audit
    trusted = found.trusted_accuracy
    beside = "" if trusted is None else f" (trusted {percent(trusted.value)})"
    setting = f"{result.file}, {percent(found.accuracy.value)} accurate{beside}, {duration(found.seconds)}"
    return Group(
        Text(found.verdict.value.upper(), _STYLES[found.verdict]),
        *_head(result.title, " ".join(found.reasons), setting),
        *_masks(found),
        *_canaries(found),
        *_drift(found),
        *_slices(found),
        *_repair(result),
        *_bullets("What this audit could have seen", found.could_see),
        *_bullets("What it could not", found.not_covered),
        Text(""),
        Text(clean(f"model {result.digest}"), "dim"),
    )


def _masks(found: ModelAudit) -> list[RenderableType]:
    if not found.masks:
        return []
    table = _table("smallest trigger for")
    for head in ("size", "success", "index", "of median", "of trusted", ""):
        table.add_column(Text(head), justify="right")
    for row in found.masks:
        numbers = (f"{row.size:.1f}", percent(row.success.value), number(row.index), number(row.share))
        mark = Text("FLAGGED", "bold red") if row.flagged else Text("" if row.reached else "not found")
        table.add_row(Text(clean(found.classes[row.label])), *numbers, number(row.ratio), mark)
    return [Text(""), table]


def _canaries(found: ModelAudit) -> list[RenderableType]:
    table = _table("known trigger")
    for head in ("turns others into", "rate", "without", "trusted", "excess"):
        table.add_column(Text(head), justify="left" if head.startswith("turns") else "right")
    for one in found.canaries:
        usual = NOTHING if one.trusted is None else f"{100 * one.trusted:+.1f}"
        excess = Text(f"{100 * one.excess:+.1f}", "bold red" if one.excess >= found.limits.canary else "")
        rates = (percent(one.rate.value), percent(one.base), usual)
        table.add_row(Text(clean(one.name)), Text(clean(found.classes[one.target])), *rates, excess)
    return [Text(""), table]


def _drift(found: ModelAudit) -> list[RenderableType]:
    table = _table("class")
    for head in ("examples", "recall", "lost", "at least"):
        table.add_column(Text(head), justify="right")
    for row in found.drift:
        lost = NOTHING if row.drop is None else f"{100 * row.drop.value:+.1f}"
        least = NOTHING if row.drop is None else f"{100 * row.drop.low:+.1f}"
        recall = percent(row.recall.value) if row.recall.n else NOTHING
        table.add_row(Text(clean(found.classes[row.label])), str(row.recall.n), recall, lost, least)
    return [Text(""), table]


def _slices(found: ModelAudit) -> list[RenderableType]:
    if not found.slices:
        return []
    table = _table("slice")
    for head in ("examples", "accuracy", "lost", "commonest wrong answer", "share"):
        table.add_column(Text(head), justify="right")
    for one in found.slices:
        lost = NOTHING if one.drop is None else f"{100 * one.drop.value:+.1f}"
        numbers = (str(one.accuracy.n), percent(one.accuracy.value), lost)
        table.add_row(Text(clean(one.name)), *numbers, Text(clean(found.classes[one.answer])), percent(one.wrong.value))
    return [Text(""), table]


def _repair(result: ModelAuditResult) -> list[RenderableType]:
    if result.repair is None:
        return []
    how, after = result.repair
    said = (
        f"After '{how}': {after.verdict.value.upper()}, accuracy {percent(after.accuracy.value)} "
        f"(before {percent(result.audit.accuracy.value)}). {' '.join(after.reasons)}"
    )
    return [Text(""), Text(clean(said), _STYLES[after.verdict])]
