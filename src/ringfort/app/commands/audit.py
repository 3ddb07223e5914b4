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
    from ringfort.app.recipe import Recipe
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

    from ringfort import report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load
    from ringfort.app.privacy_scenario import plan
    from ringfort.app.results import drill_folder, new_folder, write_provenance
    from ringfort.audit.canary import Verdict
    from ringfort.audit.inference.findings import privacy_findings
    from ringfort.core.randomness import Seeds

    read = recipes.read(recipe, overrides or ())
    split = load(read)
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


@app.command("model")
@reported
def model(
    file: Annotated[
        Path, typer.Argument(help="A .safetensors file as `train` writes it, or with rollback a run's folder.")
    ],
    name: Annotated[str | None, typer.Option("--data", help="Hold-out data: a name from `data list`.")] = None,
    kind: Annotated[
        str | None,
        typer.Option("--model", help='The family as in a recipe: mlp, cnn, {name="mlp",hidden=128}.'),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Instead of --data and --model: the recipe that trained it.")
    ] = None,
    trusted: Annotated[
        Path | None, typer.Option("--trusted", help="A file of the same family that is known to be good.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slices", metavar="SLICE", help="An .npz with inputs and labels, or label=NAME. Repeatable."),
    ] = None,
    repair: Annotated[
        str | None, typer.Option("--repair", help="unlearn, fine-tune or prune if flagged; or rollback.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the repaired model goes.")] = None,
    report_to: Annotated[
        Path | None, typer.Option("--report", metavar="FOLDER", help="Where report.html and report.json go.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the searches.", min=0)] = 1,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look for a backdoor in a trained model. Exit code 4: flagged, 5: inconclusive, 0: not flagged.

    With --repair the code is that of the repaired model, which is written only if it is not flagged and has lost at
    most 2 points of accuracy. report.html shows hold-out data.
    """
    from ringfort import data, report
    from ringfort.app import model_audit as audits
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load_holdout
    from ringfort.app.results import new_folder
    from ringfort.audit.model import MEASURED, REPAIRS
    from ringfort.core.errors import DataUnavailable, Incompatible, UnknownName

    if repair is not None and repair not in (*REPAIRS, audits.ROLLBACK):
        raise UnknownName.of("repair", repair, (*REPAIRS, audits.ROLLBACK))
    if (repair is None) != (out is None):
        raise Incompatible("--repair and --out belong together: how to repair, and where the repaired model goes")
    read: Recipe | None = None if recipe is None else recipes.read(recipe)
    if (read is None) == (name is None and kind is None):
        raise Incompatible("give --recipe RECIPE, or --data NAME and --model MODEL")
    if read is None and (name is None or kind is None):
        raise Incompatible("--data NAME and --model MODEL belong together")
    split = data.load(str(name)) if read is None else load_holdout(read)
    spec = read.model if read is not None else recipes.model(str(kind))
    about = audits.subject(spec, split, seed, trusted=trusted, slices=slices or (), root_of=read)
    manifest = audits.manifest(split, seed, read, spec)
    if repair == audits.ROLLBACK:
        result, saved = audits.rolled_back(about, MEASURED, file, manifest)
    else:
        if file.is_dir():
            raise DataUnavailable(f"{file} is a folder: name a model file in it, or use --repair rollback")
        result, saved = audits.audit_file(about, MEASURED, file, manifest, repair)
    folder = new_folder(report_to or Path("runs") / f"{(file.stem or 'model')}-audit")
    written = report.write_model_audit(folder, result)
    code = audits.EXIT_CODES[result.audit.verdict if result.repair is None else result.repair[1].verdict]
    if out is not None and saved is not None:
        written.append(audits.save(about, saved, out))
    print_result(report.plain_json(result.to_json()) if as_json else report.model_audit_summary(result))
    say_written(quiet, written)
    if out is not None and saved is None:
        typer.echo(f"{out} was not written: {audits.why_not(result)}", err=True)
        code = code or 4
    if code:
        raise typer.Exit(code)


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
