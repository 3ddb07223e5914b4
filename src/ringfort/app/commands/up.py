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
    import time
    from contextlib import ExitStack
    from functools import partial

    from ringfort import report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load
    from ringfort.app.members import Members
    from ringfort.app.model_audit import deliver
    from ringfort.app.private import private
    from ringfort.app.results import new_folder, run_folder, write_provenance
    from ringfort.app.sites import log_profile
    from ringfort.audit.drill import point
    from ringfort.audit.training import summary
    from ringfort.core.errors import Incompatible, MissingExtra, UnknownName
    from ringfort.core.randomness import Seeds
    from ringfort.core.values import client_id
    from ringfort.rounds.journal import Journal

    try:
        from ringfort.app.deploy import Supervisor, Tail, deploy, forget_keys, supervising
        from ringfort.engine.nvflare.deployment import Deployment
    except ModuleNotFoundError as error:
        raise MissingExtra("`ringfort up` needs NVFlare: pip install -c constraints.txt 'ringfort[nvflare]'") from error

    started = time.monotonic()
    more = [] if clients is None else [f"data.split.clients={clients}"]
    read = recipes.read(recipe, [*(overrides or ()), *more])
    folder = new_folder(run_folder(out or Path("runs") / recipe.stem, resume=resume))
    members = Members.of(folder, read)
    log_profile(read, folder)
    build.signing(read, folder, None, ())  # no such key, one that others can read, a log that would stop being signed
    split = load(read)
    scenario, defence, seeds = build.scenario(read, split), build.defence(read), Seeds(read.seed)
    scenario.require(defence, read.defence.f, seeds)
    manifest = build.manifest(read, split)
    names = scenario.clients(seeds)
    for name in without or ():
        if name not in names:
            raise UnknownName.of("client", name, names)
    helpers = () if scenario.seal is None else scenario.seal.helpers()
    members.require(names, helpers)
    with supervising(folder):
        with Journal(folder) as journal:  # a run of another recipe is found before anything starts
            if journal.head is not None and journal.head.recipe != scenario.recipe:
                raise Incompatible("the folder holds a run of another recipe: name its recipe.toml, or write elsewhere")
            write_provenance(folder, read, manifest)
        with ExitStack() as stack:
            private(read, scenario, defence.rule.name, folder, stack)  # refuses what [privacy] cannot promise
        kits = deploy(folder, read, members, names, helpers, scenario.recipe)
        with report.TrainProgress(quiet=quiet) as progress:

            def observe(record: RoundRecord) -> None:
                if record.round == 0:
                    progress.start("train", read.title, scenario.rounds)
                progress.advance("train", point(record))

            tail = Tail(folder, observe)
            try:
                with Deployment(kits, folder / "deployment" / "jobs") as deployment:
                    left_out = {client_id(name) for name in without or ()}
                    refresh = partial(members.collect, (*names, *helpers))
                    supervisor = Supervisor(
                        deployment, folder, scenario.recipe, names, helpers, tail, left_out, refresh=refresh
                    )
                    supervisor.go()
            finally:
                forget_keys(folder)
            progress.finish("train", None)
        with ExitStack() as stack, Journal(folder) as journal:
            made = private(read, scenario, defence.rule.name, folder, stack)
            result, model = summary(
                made.scenario,
                defence,
                seeds,
                journal,
                title=read.title,
                manifest=manifest,
                started=started,
                release=made.release,
                clients=_said(supervisor.events, members, names, journal.stream()),
            )
            written, code = deliver(read, split, folder, model, result)
    print_result(report.report_json(result) if as_json else report.train_summary(result))
    records = ["rounds.jsonl", *(["checkpoints.jsonl"] if read.log else [])]
    say_written(quiet, [*written, *(folder / name for name in records)])
    leave_if_held_back(written[0], code)


def _said(
    events: list[Event], members: Members, names: tuple[ClientId, ...], records: Iterable[RoundRecord]
) -> tuple[str, ...]:
    """What the report must say: where the clients lived, jobs that ended before their time, who may not speak now."""
    keys = "signatures and certificates" if members.ours else "enrolments and signatures"
    lines = [
        f"All processes were one user's on one machine: {keys} are real, that only its owner holds "
        "a key is simulated. Nothing proves that a name is a person or a hospital of its own.",
        "Any enrolled client can end a job by letting its process die; the run then goes on without it.",
    ]
    for event in events:
        if event.what == "ended":
            whose = f" Left out since: {', '.join(event.culprits)}." if event.culprits else ""
            lines.append(f"After round {max(event.round, 0)} a job ended before its time: {event.why}.{whose}")
    silenced = members.silenced(names)
    asked = [record.cohort for record in records if record.round] if silenced else []
    for name, why in silenced.items():
        lines.append(f"{why}. It was asked in {sum(name in cohort for cohort in asked)} of {len(asked)} rounds.")
    return tuple(lines)
