"""The privacy report and findings for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringfort.audit.canary import Finding, Severity, Verdict
from ringfort.audit.inference import PrivacyReport, Rates
from ringfort.report.privacy import PrivacyResult, claim_numbers
from ringfort.report.terminal import _bullets, _head, _table
from ringfort.report.words import NOTHING, clean, duration, percent

__all__ = ["findings_list", "privacy_summary"]

_STYLES = {
    Verdict.REFUTED: "bold red",
    Verdict.CONSISTENT: "bold green",
    Verdict.NO_CLAIM: "bold yellow",
    Verdict.INCONCLUSIVE: "bold yellow",
}
_SEVERE = {
    Severity.CRITICAL: "bold red",
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "yellow",
    Severity.INFO: "dim",
}


def privacy_summary(result: PrivacyResult) -> RenderableType:
    """Verdict, the three epsilons, findings, every attack, and what is not covered."""
    report = result.report
    setting = f"final model {percent(report.accuracy)} accurate, {duration(report.seconds)}"
    return Group(
        Text(report.claim.verdict.value.upper(), _STYLES[report.claim.verdict]),
        *_head(result.title, report.claim.summary, setting),
        Text(""),
        *(Text(clean(f"{n.label}: {n.value} ({n.note})")) for n in claim_numbers(report.claim)),
        Text(""),
        Text("Findings about the design", "bold"),
        findings_list(report.findings),
        Text(""),
        _membership(report),
        *_property(report),
        *_reconstruction(report),
        *_bullets("Not covered", report.not_covered),
    )


def findings_list(findings: tuple[Finding, ...]) -> RenderableType:
    """One block for each finding, the most severe first."""
    if not findings:
        return Text("none")
    rows = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        head = f"{finding.check}: {finding.what}" + (f" [{finding.where}]" if finding.where else "")
        said = Text(f"{clean(head)}\n{clean(finding.why)}\n{clean(finding.fix)}", overflow="fold")
        rows.add_row(Text(finding.severity.value.upper(), _SEVERE[finding.severity]), said)
    return rows


def _membership(report: PrivacyReport) -> Table:
    table = _table("member?")
    for head in ("view", "AUC", "at 1%", "at 0.1%", "permitted"):
        table.add_column(Text(head), justify="left" if head == "view" else "right")
    for one in report.membership:
        limit = "not covered" if one.ceiling is None else percent(one.ceiling.tpr_at_1_percent)
        found = (percent(one.rates.tpr_at_1_percent), percent(one.rates.tpr_at_tenth_percent))
        table.add_row(Text(clean(one.attack)), one.view.value, _auc(one.rates), *found, limit)
    return table


def _property(report: PrivacyReport) -> list[RenderableType]:
    if report.properties is None:
        return []
    attack, baseline = _auc(report.properties.rates), _auc(report.properties.baseline)
    said = f"Property ({report.wanted}): AUC {attack} from updates, {baseline} from label counts alone"
    return [Text(""), Text(clean(said))]


def _reconstruction(report: PrivacyReport) -> list[RenderableType]:
    if not report.reconstruction:
        return []
    table = _table("read back")
    for head in ("protection", "batch", ">40 dB", ">25 dB", "PSNR (mean)", "SSIM (mean)"):
        table.add_column(Text(head), justify="left" if head == "protection" else "right")
    for one in sorted(report.reconstruction, key=lambda one: (one.attack, one.batch)):
        like = one.likeness
        shares = (percent(like.exact), percent(like.recognisable))
        ssim = NOTHING if like.ssim is None else f"{like.ssim:.2f} ({like.baseline_ssim:.2f})"
        psnr = f"{like.psnr:.1f} ({like.baseline_psnr:.1f})"
        table.add_row(Text(clean(one.attack)), Text(clean(one.protection)), str(one.batch), *shares, psnr, ssim)
    return [Text(""), table]


def _auc(rates: Rates) -> str:
    return f"{rates.auc:.3f} ({rates.auc_low:.2f}–{rates.auc_high:.2f})"
