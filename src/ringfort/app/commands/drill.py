"""ringfort drill: every attack against every wall."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

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
    say,
    say_written,
)

__all__ = ["drill"]


@reported
def drill(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
    must_hold: Annotated[
        list[str] | None,
        typer.Option("--must-hold", metavar="WALL", help="Exit with 1 unless this wall holds against every attack."),
    ] = None,
    fail_on: FailOn = None,
) -> None:
    """Attack a federation behind every wall of the recipe, and report which walls hold.

    With --must-hold, --fail-on looks at the findings about these walls only.
    """
    from ringfort import report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load
    from ringfort.app.piloted import calibrations
    from ringfort.app.results import drill_folder, new_folder, write_provenance
    from ringfort.audit.drill_findings import drill_findings
    from ringfort.audit.results import Outcome, Point, Trial
    from ringfort.core.errors import UnknownName

    read = recipes.read(recipe, overrides or ())
    folder = new_folder(drill_folder(out or Path("runs") / f"{recipe.stem}-drill"))
    split = load(read)
    plan = build.drill(read, split)
    for wall in must_hold or ():
        if wall not in {w.name for w in plan.walls}:
            raise UnknownName.of("wall", wall, [w.name for w in plan.walls])
    if pilots := calibrations(read, plan.scenario, folder, partial(say, quiet=quiet)):
        plan = build.drill(read, split, pilots)
    manifest = build.manifest(read, split)
    write_provenance(folder, read, manifest)
    total = len(plan.keys())
    with report.DrillProgress(total, total * plan.scenario.rounds, quiet=quiet) as progress:
        started: dict[tuple[str, str], int] = {}
        running: set[str] = set()

        def watch(attack: str, wall: str, event: Point | Trial) -> None:
            runs = started.setdefault((attack, wall), 0)
            key = f"{attack}/{wall}/{runs}"
            if key not in running:  # also a trial that fails before its first round
                running.add(key)
                progress.start(key, f"{attack} x {wall}", plan.scenario.rounds)
            if isinstance(event, Trial):
                progress.finish(key, event.error)
                started[attack, wall] = runs + 1
            else:
                progress.advance(key, event)

        result = plan.run(manifest, watch)
    findings = drill_findings(result)
    written = report.write_reports(folder, result)
    written += report.write_findings(folder, findings, read.title, recipe.as_posix(), manifest)
    print_result(report.report_json(result) if as_json else report.drill_summary(result))
    say_written(quiet, written)
    failed = [c for c in result.cells if c.wall in (must_hold or ()) and c.outcome not in (None, Outcome.HOLDS)]
    if failed:
        for cell in failed:
            typer.echo(f"{cell.wall} does not hold against {cell.attack}: {cell.why}", err=True)
        raise typer.Exit(1)
    wanted = {wall.label for wall in result.walls if not must_hold or wall.name in must_hold}
    leave_if_failing([finding for finding in findings if finding.defence in wanted], fail_on)
