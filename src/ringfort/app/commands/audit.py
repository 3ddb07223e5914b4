"""ringfort audit: what a federation gives away, and what privacy settings really promise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfort.app.commands.shared import (
    FailOn,
    Json,
    Out,
    Overrides,
    Quiet,
    RecipePath,
    leave_if_failing,
    print_result,
    reported,
    say_written,
)

if TYPE_CHECKING:
    from ringfort.audit.canary import Finding

__all__ = ["app"]

app = typer.Typer(help="The red team against updates, models and privacy claims.", no_args_is_help=True)


@app.command("privacy")
@reported
def privacy(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
    canaries: Annotated[
        int, typer.Option("--canaries", help="Made-up clients in the audit of the claim.", min=20)
    ] = 500,
    deep: Annotated[bool, typer.Option("--deep", help="Also attack the final model with shadow federations.")] = False,
    fail_on: FailOn = None,
) -> None:
    """Audit the recipe's privacy claim and attack everything that leaves a client. Exit code 3 if the claim falls.

    report.html shows training data: keep it where the data may be.
    """
    from datetime import UTC, datetime

    from ringfort import data, report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.privacy_scenario import plan
    from ringfort.app.results import drill_folder, new_folder, write_provenance
    from ringfort.audit.canary import Verdict
    from ringfort.audit.inference.findings import privacy_findings
    from ringfort.core.randomness import Seeds

    read = recipes.read(recipe, overrides or ())
    split = data.load(read.data.name)
    planned = plan(read, build.scenario(read, split), build.defence(read).rule.name, canaries)
    folder = new_folder(drill_folder(out or Path("runs") / f"{recipe.stem}-privacy"))
    manifest = build.manifest(read, split)
    write_provenance(folder, read, manifest)

    def say(line: str) -> None:
        if not quiet:
            typer.echo(f"{line} ...", err=True)

    found = planned.run(Seeds(read.seed), deep=deep, say=say)
    result = report.PrivacyResult(read.title, datetime.now(UTC).isoformat(timespec="seconds"), manifest, found)
    findings = privacy_findings(found, manifest.command)
    written = report.write_privacy(folder, result)
    written += report.write_findings(folder, findings, read.title, recipe.as_posix(), manifest)
    print_result(report.plain_json(result.to_json()) if as_json else report.privacy_summary(result))
    say_written(quiet, written)
    if found.claim.verdict is Verdict.REFUTED:
        typer.echo("the claim is refuted", err=True)
    if found.claim.verdict is Verdict.REFUTED or _any_high(found.findings):
        raise typer.Exit(3)
    leave_if_failing(findings, fail_on)


@app.command("lint")
@reported
def lint(
    folder: Annotated[Path, typer.Argument(help="A Flower app or an NVFlare job. It is read, never run.")],
    as_json: Json = False,
) -> None:
    """Say what a Flower or NVFlare project's privacy settings really give. Exit code 3 if a claim does not hold."""
    from ringfort import report
    from ringfort.audit.canary import lint as checked

    findings = checked(folder)
    listed = report.plain_json([finding.to_json() for finding in findings])
    print_result(listed if as_json else report.findings_list(findings))
    if _any_high(findings):
        raise typer.Exit(3)


def _any_high(findings: tuple[Finding, ...]) -> bool:
    from ringfort.audit.canary import Severity

    return any(finding.severity is Severity.HIGH for finding in findings)
