"""ringfort site: what a site's owner, and the operator, write for a deployment on several machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ringfort.app.commands.shared import RecipePath, reported, say_written

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
    make: Annotated[
        str | None, typer.Option("--make", metavar="MODULE:FUNCTION", help="The site's own node, on its own data.")
    ] = None,
) -> None:
    """Lock a startup kit down (no code from jobs, four classes); say what the site does in a job for this recipe."""
    from ringfort.app import recipe as recipes
    from ringfort.app.sites import log_profile
    from ringfort.core.errors import InvalidValue, UnknownName
    from ringfort.core.values import client_id
    from ringfort.engine.nvflare.kit import lock_down, write_profile

    if role not in _OWN:
        raise UnknownName.of("role", role, _OWN)
    read = recipes.read(recipe)
    lock_down(kit)
    if (role == "server") != (registry is not None):
        raise InvalidValue("--registry is the server's: it says who may speak; the server needs one, others have none")
    places = {"recipe": recipe, "home": home, "grants": grants, "folder": folder, "kept": folder / "kept"}
    places |= {} if registry is None else {"registry": registry}
    said: dict[str, Any] = {name: str(path.resolve()) for name, path in places.items()} | {"party": client_id(party)}
    if role == "server":
        said["outcome"] = str((folder / "outcome.json").resolve())
        if (log := log_profile(read, folder)) is not None:
            said["log"] = log
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
