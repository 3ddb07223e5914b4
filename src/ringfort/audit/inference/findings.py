"""A privacy report as findings: what its attacks read, what its claim is worth, how it was built."""

from __future__ import annotations

from typing import Final

from ringfort.audit.canary import ClaimAudit, Verdict
from ringfort.audit.finding import Finding, Measured, Severity, Status, Taxonomy
from ringfort.audit.inference.report import Membership, PrivacyReport, Reconstruction
from ringfort.audit.inference.threat import View

__all__ = ["privacy_findings"]

_MEMBERSHIP: Final = Taxonomy(("AML.T0024.000",), ("ML04:2023",), ("2.4.2",))
_PROPERTY: Final = Taxonomy(("AML.T0024",), (), ("2.4.4",))
_RECONSTRUCTION: Final = Taxonomy(("AML.T0024.001",), ("ML03:2023",), ("2.4.1",))
_PRIVACY: Final = Taxonomy(("AML.T0024",), ("ML04:2023", "ML03:2023"), ("2.4.5",))
_LIMITS: Final = (
    "The attacks that were run, with what they knew; a better attack reads more. Never that something is private."
)
_FALSE_ALARMS: Final = 0.01
_RECOGNISABLE_DB: Final = 25.0
_EXPOSED: Final = 0.05
"""Five times what guessing gives at one per cent of false alarms."""


def privacy_findings(report: PrivacyReport, command: str) -> tuple[Finding, ...]:
    """The claim first, then how it was built, then one finding for each attack."""
    out = [_claim(report.claim, command), *report.findings]
    out += [_membership(one, command) for one in report.membership]
    if report.properties is not None:
        rates = report.properties.rates
        seen = rates.auc_low > max(0.5, report.properties.baseline.auc_high)
        out.append(
            Finding(
                "privacy/property",
                Severity.MEDIUM if seen else Severity.INFO,
                f"updates tell whether a client's data have this property: {report.wanted}"
                if seen
                else f"updates tell no more than label counts about this property: {report.wanted}",
                f"AUC {rates.auc:.3f} from updates, {report.properties.baseline.auc:.3f} from label counts alone.",
                "Seal the updates, or add noise on the client.",
                status=Status.FAIL if seen else Status.PASS,
                attack="property inference",
                measured=(Measured("AUC", rates.auc, rates.auc_low, rates.auc_high, None, 0.5),),
                command=command,
                taxonomy=_PROPERTY,
                limits=_LIMITS,
            )
        )
    out += [_reconstruction(one, command) for one in report.reconstruction]
    return tuple(out)


def _claim(claim: ClaimAudit, command: str) -> Finding:
    severity, status = {
        Verdict.REFUTED: (Severity.CRITICAL, Status.FAIL),
        Verdict.CONSISTENT: (Severity.INFO, Status.PASS),
        Verdict.NO_CLAIM: (Severity.MEDIUM, Status.FAIL),
        Verdict.INCONCLUSIVE: (Severity.INFO, Status.INCONCLUSIVE),
    }[claim.verdict]
    fixes = {
        Verdict.REFUTED: "Do not publish anything under this claim; find the fault in the mechanism or the accounting.",
        Verdict.NO_CLAIM: "Add a [privacy] table, or say to whoever reads updates and models that nothing is promised.",
        Verdict.INCONCLUSIVE: "Run the audit with more canaries.",
        Verdict.CONSISTENT: "Nothing to do; audit again when the mechanism changes.",
    }
    return Finding(
        "privacy/claim",
        severity,
        f"the privacy claim: {claim.verdict.value}",
        claim.summary,
        fixes[claim.verdict],
        status=status,
        attack="canaries",
        command=command,
        taxonomy=_PRIVACY,
        limits="CONSISTENT says that this audit found no fault of the size it can see, not that the claim is true.",
    )


def _membership(one: Membership, command: str) -> Finding:
    rate, limit = one.rates.tpr_at_1_percent, None if one.ceiling is None else one.ceiling.tpr_at_1_percent
    exposed = rate >= _EXPOSED and one.rates.auc_low > 0.5
    raw = one.view is View.RAW_UPDATES
    return Finding(
        "privacy/membership",
        (Severity.HIGH if raw else Severity.MEDIUM) if exposed else Severity.INFO,
        f"{one.attack} {'tells' if exposed else 'hardly tells'} members from others ({one.view.value})",
        f"{100 * rate:.1f}% of the members are found at 1% false alarms; AUC {one.rates.auc:.3f}."
        + ("" if limit is None else f" The claim permits {100 * limit:.1f}%."),
        "Seal the updates and add noise; fewer local steps and more data for each client help too."
        if exposed
        else "Nothing to do against this attack.",
        status=Status.FAIL if exposed else Status.PASS,
        attack=one.attack,
        defence=one.view.value,
        measured=(Measured("members found at 1% false alarms", rate, rate, rate, limit, _FALSE_ALARMS),),
        command=command,
        taxonomy=_MEMBERSHIP,
        limits=_LIMITS,
    )


def _reconstruction(one: Reconstruction, command: str) -> Finding:
    like, exact = one.likeness, one.likeness.exact
    # Where the mean of all inputs is above 25 dB by itself (sparse inputs, as words), only exact copies say anything.
    seen = like.recognisable if like.baseline_psnr < _RECOGNISABLE_DB else exact
    severity = Severity.CRITICAL if exact > 0 else Severity.HIGH if seen > 0 else Severity.INFO
    return Finding(
        "privacy/reconstruction",
        severity,
        f"{one.attack} reads back {'training examples' if seen else 'nothing recognisable'} (batch of {one.batch}, "
        f"protection: {one.protection})",
        f"{100 * like.recognisable:.0f}% above 25 dB, {100 * exact:.0f}% above 40 dB, mean PSNR {like.psnr:.1f} dB; "
        f"the mean of all inputs has {like.baseline_psnr:.1f} dB.",
        "Never let raw updates of few local steps leave a client: seal them, clip and add noise, and let clients "
        "screen broadcast models."
        if seen
        else "Nothing to do against this attack.",
        status=Status.FAIL if seen else Status.PASS,
        attack=f"{one.attack}, batch of {one.batch}",
        defence=one.protection,
        measured=(Measured("examples read back", seen, seen, seen, None, 0.0),),
        command=command,
        taxonomy=_RECONSTRUCTION,
        limits=_LIMITS,
    )
