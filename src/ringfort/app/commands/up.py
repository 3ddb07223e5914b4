"""ringfort up: the recipe's federation as real processes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    say_written,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringfort.app.deploy import Event
    from ringfort.app.members import Members
    from ringfort.core.values import ClientId
    from ringfort.rounds.record import RoundRecord

__all__ = ["up"]


@reported
def up(
    recipe: RecipePath,
    overrides: Overrides = None,
    clients: Annotated[
        int | None, typer.Option("--clients", min=1, help="How many clients; sets data.split.clients.")
    ] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last committed round in FOLDER.")] = False,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="NAME", help="Leave this client out. Repeatable.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the recipe's federation as real processes on this machine, on NVFlare: a server, its clients, its helpers.

    The run folder and the report are those of `train`. Every process ends with this command, also on Ctrl-C.
    With [identity] it takes the members and the registry that are there; without, everybody is enrolled for this run.
    """
    from functools import partial

    from ringfort import report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load
    from ringfort.app.members import Members
    from ringfort.app.results import new_folder, run_folder
    from ringfort.app.sites import log_profile
    from ringfort.core.extras import extra

    with extra("nvflare", "`ringfort up` needs NVFlare"):
        from ringfort.app.deploy import FOLDER, deploy, forget_keys, supervising
        from ringfort.app.distributed import Distributed
        from ringfort.engine.nvflare.deployment import Deployment

    more = [] if clients is None else [f"data.split.clients={clients}"]
    read = recipes.read(recipe, [*(overrides or ()), *more])
    folder = new_folder(run_folder(out or Path("runs") / recipe.stem, resume=resume))
    members = Members.of(folder, read)
    log_profile(read, folder)
    build.signing(read, folder, None, ())  # no such key, one that others can read, a log that would stop being signed
    made = Distributed.of(read, load(read), folder)
    left_out = made.named(without or [])
    members.require([name for name in made.clients if name not in left_out], made.helpers)
    with supervising(folder):
        made.prepare()
        kits = deploy(folder, read, members, made.clients, made.helpers, made.scenario.recipe)
        refresh = partial(members.collect, (*made.clients, *made.helpers))
        with report.TrainProgress(quiet=quiet) as progress:
            try:
                with Deployment(kits, folder / FOLDER / "jobs") as deployment:
                    outcome = folder / FOLDER / "outcome.json"
                    events = made.supervise(deployment, outcome, left_out, progress, refresh)
            finally:
                forget_keys(folder)
        said = partial(_said, events, members, made.clients)
        result, written, code = made.report(lambda journal: said(journal.stream()))
    print_result(report.report_json(result) if as_json else report.train_summary(result))
    say_written(quiet, written)
    leave_if_held_back(written[0], code)


def _said(
    events: list[Event], members: Members, names: tuple[ClientId, ...], records: Iterable[RoundRecord]
) -> tuple[str, ...]:
    """What the report must say: where the clients lived, jobs that ended before their time, who may not speak now."""
    from ringfort.app.distributed import interruptions

    keys = "signatures and certificates" if members.ours else "enrolments and signatures"
    lines = [
        f"All processes were one user's on one machine: {keys} are real, that only its owner holds "
        "a key is simulated. Nothing proves that a name is a person or a hospital of its own.",
        *interruptions(events),
    ]
    silenced = members.silenced(names)
    asked = [record.cohort for record in records if record.round] if silenced else []
    for name, why in silenced.items():
        lines.append(f"{why}. It was asked in {sum(name in cohort for cohort in asked)} of {len(asked)} rounds.")
    return tuple(lines)
