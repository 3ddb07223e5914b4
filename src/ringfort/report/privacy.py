"""The privacy report: its values, its page, and the two files that hold it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ringfort.audit.canary import ClaimAudit, Verdict
from ringfort.audit.inference import PrivacyReport, View
from ringfort.audit.inference.report import Membership, Reconstruction
from ringfort.audit.results import Manifest
from ringfort.report import svg
from ringfort.report.files import plain_json, write_parts
from ringfort.report.html import _provenance, _render, _safe
from ringfort.report.pictures import strip
from ringfort.report.summary import KeyNumber
from ringfort.report.words import NOTHING, percent

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["PrivacyResult", "claim_numbers", "privacy_html", "write_privacy"]

_LOWEST: Final = 1e-3
_STYLES: Final = {
    Verdict.REFUTED: "falls",
    Verdict.CONSISTENT: "holds",
    Verdict.NO_CLAIM: "untested",
    Verdict.INCONCLUSIVE: "untested",
}


@dataclass(frozen=True, slots=True)
class PrivacyResult:
    """A privacy report with what is needed to run it again.

    Args:
        title: the recipe's.
        created: when, in ISO 8601.
        manifest: recipe, versions, data and command.
        report: what was found.
    """

    title: str
    created: str
    manifest: Manifest
    report: PrivacyReport

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the report's versioned schema name."""
        return self.report.to_json() | {
            "title": self.title,
            "created": self.created,
            "manifest": asdict(self.manifest),
        }


def write_privacy(folder: Path, result: PrivacyResult) -> list[Path]:
    """Write `report.html` and `report.json` into an existing folder.

    Returns:
        The two paths, in that order.

    Raises:
        OutputUnwritable (RF107): no permission, no space, no such folder.
    """
    parts = {"report.html": privacy_html(result), "report.json": plain_json(result.to_json())}
    return write_parts(folder, parts)


def privacy_html(result: PrivacyResult) -> str:
    """The report as one HTML page, under the same guarantees as `drill_html`.

    The pictures in it are training data, read back or original: treat the page as the data.
    """
    report = result.report
    # Every protection of the same attack and batch side by side.
    reconstruction = sorted(report.reconstruction, key=lambda one: (one.attack, one.batch))
    return _render(
        "privacy.html.j2",
        result=result,
        report=report,
        outcome=_STYLES[report.claim.verdict],
        key_numbers=claim_numbers(report.claim),
        rocs=_rocs(report),
        reconstruction=reconstruction,
        strips=[_strips(several) for several in _by_batch(reconstruction)],
        **_provenance(result.manifest),
    )


def claim_numbers(claim: ClaimAudit) -> tuple[KeyNumber, ...]:
    """The three epsilons, which must not be confused, and the smallest fault in sight."""
    if claim.claim is None:
        return (KeyNumber("Claimed epsilon", "none", "nothing is promised, nothing was audited"),)
    numbers = [
        KeyNumber(
            "Claimed epsilon",
            _number(claim.claimed_epsilon),
            f"at delta {claim.claim.delta:g}, for all {claim.claim.rounds} rounds",
        ),
        KeyNumber(
            "Rigorous lower bound",
            _number(claim.rigorous_epsilon),
            "proven by the canaries with 95 % confidence; often far below the truth",
        ),
    ]
    if claim.estimate is not None:
        numbers.append(
            KeyNumber(
                "Estimate",
                _number(claim.estimate.epsilon),
                f"{_number(claim.estimate.low)} to {_number(claim.estimate.high)}; fitted, not a bound",
            )
        )
    if claim.sight is not None:
        numbers.append(
            KeyNumber(
                "Smallest fault in sight",
                f"noise ×{claim.sight.noise:.2f}",
                f"or contributions ×{claim.sight.reach:.2f}, in 80 % of audits with {claim.canaries} canaries",
            )
        )
    return tuple(numbers)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _rocs(report: PrivacyReport) -> list[tuple[str, Markup]]:
    """One chart for each view: the attacks, chance, and what the claim permits where it covers the view."""
    charts = []
    ceiling: svg.Line | None = None
    for view in View:
        seen = [one for one in report.membership if one.view is view]
        lines = [svg.Line(one.attack, tuple(p for p in one.rates.roc if p[0] >= _LOWEST), (), i + 1)
                 for i, one in enumerate(seen)]  # fmt: skip
        lines.append(svg.Line("chance", ((_LOWEST, _LOWEST), (1.0, 1.0)), style=svg.GUIDE))
        if any(one.ceiling is not None for one in seen):
            ceiling = _ceiling(report.claim) if ceiling is None else ceiling
            lines.append(ceiling)
        said = "; ".join(map(_roc_said, seen))
        drawing = svg.log_chart(f"Members found over false alarms: {view.value}", said, lines, across="false alarms")
        charts.append((view.value.capitalize(), _safe(drawing)))
    return charts


def _ceiling(audit: ClaimAudit) -> svg.Line:
    grid = np.geomspace(_LOWEST, 1, 60)
    rates = np.ones_like(grid) if audit.claim is None else audit.claim.curve().tpr(grid)
    return svg.Line("claim permits", tuple(zip(grid.tolist(), rates.tolist(), strict=True)), style=0)


def _roc_said(one: Membership) -> str:
    return f"{one.attack} finds {percent(one.rates.tpr_at_1_percent)} of the members at 1% false alarms"


def _strips(several: list[Reconstruction]) -> dict[str, Any]:
    """One attack on one batch: the originals, and under them what came out under every protection.

    The addresses of pictures are finished markup: base64 needs no escape, and cleaning would cut it.
    """
    first = several[0]
    count = len(first.originals)
    images = "1 image" if count == 1 else f"{count} images"
    rows = [("The originals", strip(first.originals), f"The original {images} that the client trained on")]
    for one in several:
        like = one.likeness
        many = (
            f"{percent(like.recognisable)} above 25 dB, {percent(like.exact)} above 40 dB, mean PSNR {like.psnr:.1f} dB"
        )
        under = f"Protection: {one.protection}"
        said = f"{under}. {many} (mean image {like.baseline_psnr:.1f} dB)"
        rows.append((said, strip(one.pictures), f"What the attack read back for the {images}. {under}. {many}"))
    return {
        "caption": f"{first.attack.capitalize()}, batch of {first.batch}",
        "rows": [{"said": said, "picture": _safe(address), "alt": alt} for said, address, alt in rows],
    }


def _by_batch(reconstruction: list[Reconstruction]) -> list[list[Reconstruction]]:
    """Those of one attack and batch together, if they have pictures; the same victims were attacked in each."""
    groups: dict[tuple[str, int], list[Reconstruction]] = {}
    for one in reconstruction:
        if one.originals.ndim == 4:
            groups.setdefault((one.attack, one.batch), []).append(one)
    return list(groups.values())
