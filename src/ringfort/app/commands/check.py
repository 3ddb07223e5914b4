"""ringfort data check: look through one owner's rows before they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfort.app.commands.shared import Json, Out, Quiet, print_result, reported, say_written

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ringfort.app.recipe import Recipe
    from ringfort.client.sanitise import Report, Sanitiser
    from ringfort.core.dataset import Dataset

__all__ = ["data_check"]

_SHOWN = 20


@reported
def data_check(
    data: Annotated[str, typer.Option("--data", metavar="NAME|FILE.npz", help="Whose rows.", show_default=False)],
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="RECIPE", help="Its [sanitise], its model, its split.", show_default=False),
    ] = None,
    client: Annotated[
        str | None, typer.Option("--client", help="Only this client's rows in the recipe's split.", show_default=False)
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="MODEL", help="An audited checkpoint of the recipe's model."),
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", metavar="SHA256", help="Pins --reference.", show_default=False)
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", metavar="FILE", help="Schema and ranges, TOML or JSON.")
    ] = None,
    learn: Annotated[
        Path | None,
        typer.Option("--learn", metavar="FILE.toml", help="Only write down the schema that these rows meet."),
    ] = None,
    max_set_aside: Annotated[
        float | None, typer.Option("--max-set-aside", help="Share set aside without a person.", min=0, max=1)
    ] = None,
    class_floor: Annotated[
        int | None, typer.Option("--class-floor", help="Rows that a class must keep if it had them.", min=0)
    ] = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find rows that are broken, double, mislabelled or poisoned, and write them down for review. Deletes nothing.

    Runs the recipe's [sanitise] if there is one, the standard checks for the data's shape if not. review.csv says which
    rows and why: keep it where the data may be. Exit code 3 if more was found than may be set aside without a person.
    """
    from dataclasses import replace

    from ringfort.app import recipe as recipes
    from ringfort.app.results import new_folder
    from ringfort.client.sanitise import Excess, Specification, review_csv
    from ringfort.core.errors import Incompatible, TooManySuspicious
    from ringfort.core.files import write_atomic
    from ringfort.report import plain_json

    read = None if recipe is None else recipes.read(recipe)
    rows = _rows(data, read, client)
    if learn is not None:
        if learn.suffix != ".toml":
            raise Incompatible(f"--learn writes TOML: call the file {learn.stem}.toml")
        write_atomic(learn, Specification.learn(rows, margin=0.0).to_toml().encode())
        say_written(quiet, [learn])
        return
    made = _sanitiser(rows, read, reference, digest, spec, max_set_aside, class_floor)
    _, report = replace(made, excess=Excess.FLAG)(rows)
    folder = new_folder(out or Path("runs") / "data-check")
    files = {"review.csv": review_csv(report), "report.json": plain_json(report.to_json())}
    for name, text in files.items():
        write_atomic(folder / name, text.encode())
    print_result(files["report.json"] if as_json else _summary(report))
    say_written(quiet, [folder / name for name in files])
    if report.excess:
        raise TooManySuspicious(f"{'; '.join(report.excess)}: go through {folder / 'review.csv'}")


def _rows(name: str, recipe: Recipe | None, client: str | None) -> Dataset:
    """The rows to check: a file's, a data set's training part, or one client's share of it."""
    from ringfort import data
    from ringfort.app import build
    from ringfort.app.loading import load
    from ringfort.core.errors import Incompatible, UnknownName
    from ringfort.core.randomness import Seeds

    if client is None:
        return data.load_npz(Path(name)) if name.endswith(".npz") else data.load(name).train
    if recipe is None or recipe.data.name != name:
        raise Incompatible(f"--client names a share of a recipe's split of {name}: give that --recipe")
    rows = load(recipe).train
    parts = build.split(recipe)(rows, Seeds(recipe.seed).under("split"))
    names = build.clients(recipe, len(parts))
    wanted = names[int(client)] if client.isdecimal() and int(client) < len(names) else client
    if wanted not in names:
        raise UnknownName.of("client", client, names)
    return rows.take(parts[names.index(wanted)])


def _sanitiser(
    rows: Dataset,
    recipe: Recipe | None,
    reference: Path | None,
    digest: str | None,
    spec: Path | None,
    max_set_aside: float | None,
    class_floor: int | None,
) -> Sanitiser:
    from dataclasses import replace

    from ringfort.app import build
    from ringfort.client.sanitise import Excess, Reference, Sanitiser, Specification, standard
    from ringfort.core.errors import Incompatible, InvalidValue

    if (reference is None) != (digest is None):
        raise InvalidValue("a reference is pinned: give --reference and --digest together")
    model = None if recipe is None else build.model(recipe, rows)
    loaded = None
    if reference is not None and digest is not None:
        if model is None:
            raise Incompatible("--reference is a checkpoint of a recipe's model: give that --recipe")
        loaded = Reference.load(reference, digest, model())
    if recipe is not None and recipe.sanitise is not None and model is not None:
        made = build.sanitiser(recipe, model, rows, loaded)
        assert made is not None  # noqa: S101
    else:
        if max_set_aside is None or class_floor is None:
            raise InvalidValue("without a recipe's [sanitise] give --max-set-aside and --class-floor: no defaults")
        made = Sanitiser(standard(rows, loaded), max_set_aside, class_floor, Excess.FLAG)
    if max_set_aside is not None:
        made = replace(made, max_set_aside=max_set_aside)
    if class_floor is not None:
        made = replace(made, class_floor=class_floor)
    if spec is not None:
        others = tuple(check for check in made.checks if check.name != Specification.name)
        made = replace(made, checks=(Specification.read(spec), *others))
    return made


def _summary(report: Report) -> RenderableType:
    """One table, what each check found, and the first suspects."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from ringfort.report.words import clean, count, percent

    found = len(report.suspects)
    share = percent(found / report.n_rows if report.n_rows else 0.0)
    head = f"{report.data}: {count(found)} of {count(report.n_rows)} rows to set aside ({share})"
    checks = Table("check", "rows", title=None)
    for name, rows in report.by_check().items():
        checks.add_row(Text(clean(name)), count(rows))
    table = Table("row", "label", "reasons")
    for suspect in report.suspects[:_SHOWN]:
        said = "; ".join(reason.note for reason in suspect.reasons)
        table.add_row(str(suspect.row), Text(clean(suspect.label)), Text(clean(said)))
    more = len(report.suspects) - _SHOWN
    return Group(
        Text(clean(head)),
        checks,
        *([table] if report.suspects else []),
        *([Text(f"... and {count(more)} more in review.csv", "dim")] if more > 0 else []),
        *(Text(clean(why), "bold red") for why in report.excess),
    )
