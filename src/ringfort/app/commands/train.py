"""ringfort train: one federation behind its wall."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ringfort.app.commands.shared import (
    Json,
    Out,
    Overrides,
    Quiet,
    RecipePath,
    leave_if_held_back,
    print_result,
    reported,
    say,
    say_written,
)

__all__ = ["train"]


@reported
def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Out = None,
    log_key: Annotated[
        Path | None, typer.Option("--log-key", metavar="KEY", help="Sign a checkpoint of the records each round.")
    ] = None,
    checkpoint_to: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint-to", metavar="PLACE", help="A file elsewhere, -, or exec:PROGRAM ARG... Repeatable."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last committed round in FOLDER.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the recipe's federation behind its wall; write the model, the round records and the report.

    With an [audit] table the last model is audited first. Exit code 4: flagged, 5: inconclusive; it is quarantined.
    """
    from contextlib import ExitStack

    from ringfort import report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load
    from ringfort.app.model_audit import deliver
    from ringfort.app.piloted import calibrations
    from ringfort.app.private import private
    from ringfort.app.results import new_folder, run_folder, write_provenance
    from ringfort.audit.results import Point
    from ringfort.audit.training import train as run
    from ringfort.core.randomness import Seeds
    from ringfort.rounds.decisions import Decisions
    from ringfort.rounds.journal import Journal

    read = recipes.read(recipe, overrides or ())
    folder = new_folder(run_folder(out or Path("runs") / recipe.stem, resume=resume))
    split = load(read)
    scenario, defence = build.scenario(read, split), build.defence(read)
    manifest = build.manifest(read, split)
    signing = build.signing(read, folder, log_key, checkpoint_to or ())
    with ExitStack() as stack, Journal(folder, signing) as journal, report.TrainProgress(quiet=quiet) as progress:
        if journal.head is None or journal.head.recipe == scenario.recipe:
            write_provenance(folder, read, manifest)
        scenario.require(defence, read.defence.f, Seeds(read.seed))
        defence = build.defence(read, calibrations(read, scenario, folder, partial(say, quiet=quiet)))
        scenario = build.authenticated(read, scenario, folder)
        made = private(read, scenario, defence.rule.name, folder, stack)
        begun = False

        def observe(point: Point) -> None:
            nonlocal begun
            if not begun:
                progress.start("train", read.title, scenario.rounds)
                begun = True
            progress.advance("train", point)

        result, model = run(
            made.scenario,
            defence,
            read.defence.f,
            Seeds(read.seed),
            journal,
            title=read.title,
            manifest=manifest,
            observe=observe,
            release=made.release,
            decisions=Decisions(folder).since,
        )
        progress.finish("train", None)
        written, code = deliver(read, split, folder, model, result)
    print_result(report.report_json(result) if as_json else report.train_summary(result))
    records = ["rounds.jsonl", *(["checkpoints.jsonl"] if signing else [])]
    say_written(quiet, [*written, *(folder / name for name in records)])
    leave_if_held_back(written[0], code)
