"""Findings in the files that programs read, and whether they fail a pipeline."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ringfort.audit.finding import Finding, Severity, Status, grade, worst_first
from ringfort.audit.results import Manifest
from ringfort.report.files import plain_json, write_parts
from ringfort.report.junit import junit
from ringfort.report.sarif import sarif
from ringfort.report.words import clean, cleaned

__all__ = ["failing", "findings_json", "write_findings"]


def findings_json(findings: Iterable[Finding], title: str) -> str:
    """All findings, the worst first, and the grade, which is that of the worst; indented JSON in ASCII."""
    found = worst_first(findings)
    value: dict[str, Any] = {
        "schema": "ringfort-findings/1",
        "title": clean(title),
        "grade": grade(found),
        "findings": [cleaned(finding.to_json()) for finding in found],
    }
    return plain_json(value)


def write_findings(
    folder: Path, findings: Iterable[Finding], title: str, recipe: str, manifest: Manifest | None
) -> list[Path]:
    """Write `findings.json`, `findings.sarif` and `findings.junit.xml` into an existing folder.

    Raises:
        OutputUnwritable (RF107): no permission, no space, no such folder.
    """
    found = tuple(map(_whole, worst_first(findings)))
    parts = {
        "findings.json": findings_json(found, title),
        "findings.sarif": sarif(found, manifest, recipe),
        "findings.junit.xml": junit(found, title),
    }
    return write_parts(folder, parts)


def failing(findings: Iterable[Finding], least: Severity) -> tuple[Finding, ...]:
    """What fails a pipeline that tolerates nothing from `least` on: failures that severe, and whatever has an error."""
    return tuple(
        finding
        for finding in worst_first(findings)
        if finding.status is Status.ERROR or (finding.status is Status.FAIL and finding.severity.reaches(least))
    )


def _whole(finding: Finding) -> Finding:
    """Without numbers that JSON cannot hold."""
    from dataclasses import replace

    known = tuple(m for m in finding.measured if all(map(math.isfinite, (m.value, m.low, m.high))))
    return replace(finding, measured=known)
