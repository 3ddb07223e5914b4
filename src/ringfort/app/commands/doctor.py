"""ringfort doctor: a deployment as an attacker sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ringfort.app.commands.shared import FailOn, Json, leave_if_failing, print_result, reported

__all__ = ["doctor"]


@reported
def doctor(
    folder: Annotated[
        Path, typer.Argument(help="A run of `ringfort up`, startup kits, or a Flower project.", show_default=False)
    ],
    as_json: Json = False,
    fail_on: FailOn = None,
) -> None:
    """Check a deployment as an attacker would: ports, keys, certificates, policies. Exit code 3 if anything is HIGH."""
    from datetime import UTC, datetime

    from ringfort import report
    from ringfort.audit.doctor import Severity, examine

    findings = examine(folder, datetime.now(UTC))
    print_result(report.findings_json(findings, str(folder)) if as_json else report.findings_list(findings))
    if any(finding.severity.reaches(Severity.HIGH) for finding in findings):
        raise typer.Exit(3)
    leave_if_failing(findings, fail_on)
