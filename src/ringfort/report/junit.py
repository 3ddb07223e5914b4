"""Findings as JUnit XML, which every CI system reads."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from ringfort.audit.finding import Finding, Severity, Status
from ringfort.report.words import clean

__all__ = ["junit"]


def junit(findings: Iterable[Finding], name: str) -> str:
    """One suite per defence (or kind of check), one case per finding.

    A failure is a failure whatever its severity, except what is only information; an error is an error; what is
    inconclusive is skipped, never passed.
    """
    suites: dict[str, list[Finding]] = {}
    for finding in findings:
        suites.setdefault(finding.defence or finding.check.partition("/")[0], []).append(finding)
    listed = [one for suite in suites.values() for one in suite]
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f"<testsuites name={_text(name)} {_counts(listed)}>\n",
    ]
    for title, suite in suites.items():
        parts.append(f"  <testsuite name={_text(title)} {_counts(suite)}>\n")
        parts += [_case(title, finding) for finding in suite]
        parts.append("  </testsuite>\n")
    return "".join((*parts, "</testsuites>\n"))


def _fails(finding: Finding) -> bool:
    return finding.status is Status.FAIL and finding.severity is not Severity.INFO


def _counts(findings: list[Finding]) -> str:
    failures = sum(map(_fails, findings))
    errors = sum(finding.status is Status.ERROR for finding in findings)
    skipped = sum(finding.status is Status.INCONCLUSIVE for finding in findings)
    return f'tests="{len(findings)}" failures="{failures}" errors="{errors}" skipped="{skipped}"'


def _case(title: str, finding: Finding) -> str:
    head = f"    <testcase classname={_text(title)} name={_text(finding.attack or finding.check)}"
    body = escape(clean(f"{finding.what}. {finding.why} {finding.fix}"))
    message = _text(finding.why or finding.what)
    if finding.status is Status.ERROR:
        return f"{head}>\n      <error message={message}>{body}</error>\n    </testcase>\n"
    if finding.status is Status.INCONCLUSIVE:
        return f"{head}>\n      <skipped message={message}/>\n    </testcase>\n"
    if _fails(finding):
        kind = quoteattr(finding.severity.value)
        return f"{head}>\n      <failure type={kind} message={message}>{body}</failure>\n    </testcase>\n"
    return f"{head}>\n      <system-out>{body}</system-out>\n    </testcase>\n"


def _text(value: str) -> str:
    return quoteattr(clean(value))
