"""The audit of a privacy claim: canary clients against an implementation, and checks of its design."""

from ringfort.audit.canary.claim import Claim, Curve
from ringfort.audit.canary.design import (
    Accountant,
    Arithmetic,
    Cohorts,
    Divisor,
    Extra,
    NoisePlace,
    NoiseSource,
    PrivacyDesign,
    check_design,
    classical_epsilon,
)
from ringfort.audit.canary.lint import lint
from ringfort.audit.canary.mechanisms import (
    central_claim,
    central_release,
    distributed_claim,
    distributed_release,
    example_claim,
    example_release,
)
from ringfort.audit.canary.statistics import Estimate
from ringfort.audit.canary.transcript import Release, Setting, Transcript
from ringfort.audit.canary.verdict import ClaimAudit, Sight, Test, Verdict, audit_claim, examine, no_claim
from ringfort.audit.finding import Finding, Severity

__all__ = [
    "Accountant",
    "Arithmetic",
    "Claim",
    "ClaimAudit",
    "Cohorts",
    "Curve",
    "Divisor",
    "Estimate",
    "Extra",
    "Finding",
    "NoisePlace",
    "NoiseSource",
    "PrivacyDesign",
    "Release",
    "Setting",
    "Severity",
    "Sight",
    "Test",
    "Transcript",
    "Verdict",
    "audit_claim",
    "central_claim",
    "central_release",
    "check_design",
    "classical_epsilon",
    "distributed_claim",
    "distributed_release",
    "examine",
    "example_claim",
    "example_release",
    "lint",
    "no_claim",
]
