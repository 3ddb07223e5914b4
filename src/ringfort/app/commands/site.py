"""ringfort site: what a site's owner, and the operator, write for a deployment on several machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ringfort.app.commands.shared import (
    Json,
    Quiet,
    RecipePath,
    leave_if_held_back,
    print_result,
    reported,
    say_written,
)

__all__ = ["app"]

app = typer.Typer(help="Sites of a deployment on several machines; see docs/deployment.md.", no_args_is_help=True)

_OWN = {
    "client": "ringfort.app.sites:client",
    "helper": "ringfort.app.sites:helper",
    "server": "ringfort.app.sites:serve",
}


@app.command("prepare")
@reported
def prepare(
    kit: Annotated[Path, typer.Argument(help="The site's startup kit.", show_default=False)],
    recipe: Annotated[Path, typer.Option("--recipe", help="The recipe that this site agrees to.", show_default=False)],
    party: Annotated[
        str, typer.Option("--as", help="The site's name; at the server `coordinator`.", show_default=False)
    ],
    home: Annotated[Path, typer.Option("--home", help="Its `ringfort identity` folder.", show_default=False)],
    grants: Annotated[Path, typer.Option("--grants", help="Everybody's grants, NAME.json each.", show_default=False)],
    folder: Annotated[
        Path, typer.Option("--folder", help="What the party keeps; at the server the run folder.", show_default=False)
    ],
    registry: Annotated[
        Path | None, typer.Option("--registry", help="At the server: the registry, or a copy that is kept fresh.")
    ] = None,
    role: Annotated[str, typer.Option("--role", help="client, helper or server.")] = "client",
    rows: Annotated[
        Path | None,
        typer.Option("--rows", metavar="FILE", help="A client's own rows (.npz); by default where the recipe says."),
    ] = None,
    holdout: Annotated[
        Path | None, typer.Option("--holdout", metavar="FILE", help="The server's own rows, likewise.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="At the server: a proxy on this machine brings the sites.")
    ] = False,
    make: Annotated[
        str | None, typer.Option("--make", metavar="MODULE:FUNCTION", help="The site's own node, on its own data.")
    ] = None,
) -> None:
    """Lock a startup kit down (no code from jobs, four classes); say what the site does in a job for this recipe.

    At the server, the operator's port is then on loopback alone.
    """
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load_here, rows_profile
    from ringfort.app.sites import log_profile
    from ringfort.core.errors import InvalidValue, UnknownName
    from ringfort.core.values import client_id
    from ringfort.engine.nvflare.kit import hide_ports, lock_down, write_profile

    if role not in _OWN:
        raise UnknownName.of("role", role, _OWN)
    if behind_proxy and role != "server":
        raise InvalidValue("--behind-proxy is the server's: sites listen to nobody")
    if (rows is not None and role != "client") or (holdout is not None and role != "server"):
        raise InvalidValue("--rows are a client's and --holdout is the server's: a site has its own data and no other")
    read = recipes.read(recipe)
    if (role == "server") != (registry is not None):
        raise InvalidValue("--registry is the server's: it says who may speak; the server needs one, others have none")
    places = {"recipe": recipe, "home": home, "grants": grants, "folder": folder, "kept": folder / "kept"}
    places |= {} if registry is None else {"registry": registry}
    said: dict[str, Any] = {name: str(path.resolve()) for name, path in places.items()} | {"party": client_id(party)}
    if role != "helper" and make is None:
        said |= rows_profile(read, None if role == "server" else said["party"])
        own = {"rows": rows, "holdout": holdout}
        said |= {name: str(path.resolve()) for name, path in own.items() if path is not None}
        if "rows" in said or "holdout" in said:
            load_here(read, said["party"], said)  # a file that does not fit is found here, not in the middle of a job
    if role == "server":
        said["outcome"] = str((folder / "outcome.json").resolve())
        if (log := log_profile(read, folder)) is not None:
            build.signing(read, folder, None, ())  # the key is here, and nobody else's to read
            said["log"] = log
        hide_ports(kit, behind_proxy=behind_proxy)
    lock_down(kit)
    write_profile(kit, read.federation_digest(), make or _OWN[role], said)
    say_written(False, [kit / "local" / name for name in ("resources.json", "authorization.json", "ringfort.json")])


@app.command("job")
@reported
def job(
    recipe: RecipePath,
    sites: Annotated[
        list[str], typer.Option("--site", help="Everybody in the job, helpers too. Repeatable.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The job's folder; submit it with NVFlare.", show_default=False)],
) -> None:
    """Write a job: configuration alone, for exactly these sites. Leave out a site that ended the job before."""
    from ringfort.app import recipe as recipes
    from ringfort.core.randomness import SecureRandom
    from ringfort.core.values import client_id
    from ringfort.engine.nvflare.job import write_job

    run = f"job-{SecureRandom().token(6).hex()}"
    names = [client_id(name) for name in sites]
    say_written(False, [write_job(out, run, recipes.read(recipe).federation_digest(), names)])


@app.command("operate")
@reported
def operate(
    recipe: RecipePath,
    kit: Annotated[Path, typer.Option("--kit", help="The operator's startup kit.", show_default=False)],
    server: Annotated[Path, typer.Option("--server", help="The server's startup kit.", show_default=False)],
    sites: Annotated[
        list[str], typer.Option("--site", help="Everybody who takes part, helpers too. Repeatable.", show_default=False)
    ],
    patience: Annotated[
        float, typer.Option("--patience", min=1, help="Seconds a job waits for sites that are not connected.")
    ] = 90.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last committed round in the folder.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a federation over sites that others keep running: submit jobs until the last round, then report.

    To be run on the server's machine, as the user that its process runs as. A job that ends before its time is
    followed by another, from the last committed round: without the site whose failure ended it, and without those that
    are not connected, who are asked again for the next one. Ctrl-C ends this command, and the job at the server.
    """
    from ringfort import report
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load_here
    from ringfort.app.results import new_folder, run_folder
    from ringfort.core.errors import UnknownName
    from ringfort.core.extras import extra
    from ringfort.core.values import client_id

    with extra("nvflare", "`ringfort site operate` needs NVFlare"):
        from ringfort.app.deploy import JOBS, supervising
        from ringfort.app.distributed import Distributed, interruptions
        from ringfort.engine.nvflare.kit import read_profile
        from ringfort.engine.nvflare.remote import Remote

    read = recipes.read(recipe)
    _, said = read_profile(server / "local", read.federation_digest())
    folder = new_folder(run_folder(Path(said["folder"]), resume=resume))
    made = Distributed.of(read, load_here(read, client_id(said["party"]), said), folder)
    everybody = (*made.clients, *made.helpers)
    for name in sites:
        if name not in everybody:
            raise UnknownName.of("site", name, everybody)
    names = [client_id(name) for name in sites]
    left_out = {name for name in made.clients if name not in names}
    with supervising(folder):
        made.prepare()
        remote = Remote(kit, server, names, made.helpers, folder / JOBS, patience)
        with report.TrainProgress(quiet=quiet) as progress:
            try:
                events = made.supervise(remote, Path(said["outcome"]), left_out, progress)
            finally:
                remote.close()
        lines = ("Every site ran on its owner's machine, in its owner's hands.", *interruptions(events))
        result, written, code = made.report(lambda _: lines)
    print_result(report.report_json(result) if as_json else report.train_summary(result))
    say_written(quiet, written)
    leave_if_held_back(written[0], code)
