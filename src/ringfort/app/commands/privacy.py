"""ringfort privacy: what a ledger says was spent, and what a budget or a noise would mean before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ringfort.app.commands.shared import Json, Out, Overrides, Quiet, RecipePath, print_result, reported, say_written

if TYPE_CHECKING:
    from ringfort.privacy import Neighbouring, Sampling

__all__ = ["app"]

_Number = TypeVar("_Number", int, float)

app = typer.Typer(help="Differential privacy: what was spent, what a budget asks for.", no_args_is_help=True)

Clients = Annotated[int, typer.Option("--clients", help="The population.", min=1, show_default=False)]
Rounds = Annotated[int, typer.Option("--rounds", help="Releases.", min=1, show_default=False)]
Delta = Annotated[float, typer.Option("--delta", help="At most 1 over the population.", show_default=False)]
Clip = Annotated[float, typer.Option("--clip", help="The clip norm.", show_default=False)]
Rate = Annotated[float | None, typer.Option("--rate", help="Poisson: each client's chance to be asked.")]
Cohort = Annotated[int | None, typer.Option("--cohort", help="Fixed cohorts of this size.")]
All = Annotated[bool, typer.Option("--everyone", help="All clients in every round.")]
Parameters = Annotated[int | None, typer.Option("--parameters", help="Of the model, for the noise's norm.")]
Relation = Annotated[str, typer.Option("--neighbouring", help="add-or-remove-one, replace-one.", show_default=False)]


@app.command("show")
@reported
def show(
    ledger: Annotated[Path, typer.Argument(help="A privacy.jsonl, or a folder of clients' ledgers.")],
    as_json: Json = False,
) -> None:
    """Verify a ledger and say what it has spent, round by round."""
    import json

    from rich.table import Table

    from ringfort.core.errors import DataUnavailable
    from ringfort.privacy import read_account

    paths = sorted(ledger.glob("*.jsonl")) if ledger.is_dir() else [ledger]
    if not paths:
        raise DataUnavailable(f"there is no ledger in {ledger}")
    accounts = {path.stem: read_account(path) for path in paths}
    if as_json:
        curves = {name: [[r, s.epsilon] for r, s in account.curve()] for name, account in accounts.items()}
        rows = [{"ledger": name, **a.to_json(), "curve": curves[name]} for name, a in accounts.items()]
        print_result(json.dumps(rows, indent=2))
        return
    table = Table("ledger", "epsilon", "of", "at delta", "left", "charges", "neighbouring", "counted by", "head")
    for name, account in accounts.items():
        said, spent = account.to_json(), account.worst()
        table.add_row(
            name,
            f"{spent.epsilon:.4g}",
            f"{account.budget.epsilon:g}",
            f"{spent.delta:g}",
            f"{said['left']:.4g}",
            str(said["charges"]),
            account.budget.neighbouring.value,
            spent.method,
            account.head[:12],
        )
    print_result(table)
    if len(accounts) == 1:
        only = next(iter(accounts.values()))
        print_result("\n".join(f"round {r:4}  epsilon {s.epsilon:.4g}" for r, s in only.curve()))


@app.command("plan")
@reported
def plan(
    clients: Clients,
    rounds: Rounds,
    epsilon: Annotated[float, typer.Option("--epsilon", help="The budget.", show_default=False)],
    delta: Delta,
    clip: Clip,
    neighbouring: Relation,
    rate: Rate = None,
    cohort: Cohort = None,
    everyone: All = False,
    parameters: Parameters = None,
    as_json: Json = False,
) -> None:
    """How much central noise keeps a budget, and what it does to the model."""
    import json

    from ringfort.privacy import plan as planned

    made = planned(
        _sampling(clients, rate, cohort, everyone), rounds, _relation(neighbouring), epsilon, delta, clip, parameters
    )
    if as_json:
        print_result(json.dumps(made.to_json(), indent=2))
        return
    norm = "" if made.noise_norm is None else f", of norm {made.noise_norm:.4g}"
    lines = [
        f"noise multiplier {made.price.noise_multiplier:g} keeps epsilon {epsilon:g} at delta {delta:g}",
        f"noise in each coordinate of the mean step: {made.noise_per_coordinate:.4g}{norm}",
        f"sums are divided by {made.expected_cohort:g}, whoever comes",
        *_price_lines(made.price),
        *(f"warning: {said}" for said in made.warnings),
    ]
    print_result("\n".join(lines))


@app.command("calibrate")
@reported
def calibrate(
    clients: Clients,
    rounds: Rounds,
    noise: Annotated[float, typer.Option("--noise", help="The noise multiplier.", show_default=False)],
    delta: Delta,
    neighbouring: Relation,
    rate: Rate = None,
    cohort: Cohort = None,
    everyone: All = False,
    as_json: Json = False,
) -> None:
    """What a noise costs: epsilon over the rounds, and the most that any membership attack could reach."""
    import json

    from ringfort.privacy import Gaussian, price

    event = Gaussian(noise, _sampling(clients, rate, cohort, everyone), 0.0)
    priced = price(event, rounds, _relation(neighbouring), delta, clients)
    print_result(json.dumps(priced.to_json(), indent=2) if as_json else "\n".join(_price_lines(priced)))


@app.command("curve")
@reported
def curve(
    recipe: RecipePath,
    epsilon: Annotated[str, typer.Option("--epsilon", help="Budgets, with commas: 1,2,4,8.", show_default=False)],
    overrides: Overrides = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds, with commas.")] = "1,2,3",
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the recipe at several epsilons, and plot accuracy against epsilon and epsilon over the rounds.

    Each run is a release of its own: plan on public data.
    """
    from datetime import UTC, datetime

    from ringfort import report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load
    from ringfort.app.privacy_curve import curve as drawn
    from ringfort.app.results import drill_folder, new_folder, write_provenance

    read = recipes.read(recipe, overrides or ())
    wanted, roots = _numbers("--epsilon", epsilon, float), _numbers("--seeds", seeds, int)
    split = load(read)
    folder = new_folder(drill_folder(out or Path("runs") / f"{recipe.stem}-curve"))
    manifest = build.manifest(read, split)
    write_provenance(folder, read, manifest)

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line, err=True)

    created = datetime.now(UTC).isoformat(timespec="seconds")
    result = drawn(read, split, wanted, roots, created, manifest, say)
    written = report.write_curve(folder, result)
    print_result(report.plain_json(result.to_json()) if as_json else report.curve_summary(result))
    say_written(quiet, written)


def _numbers(option: str, text: str, kind: type[_Number]) -> list[_Number]:
    from ringfort.core.errors import InvalidValue

    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidValue(f"{option} takes numbers with commas between them, got {text[:60]!r}") from error


def _price_lines(price: Any) -> list[str]:
    spent = price.spent
    return [
        f"epsilon {spent.epsilon:.4g} at delta {spent.delta:g} after {price.rounds} rounds, by {spent.method}",
        f"at one false alarm in a hundred, an attacker names at most {price.tpr_at_1_percent:.1%} of the members",
        *(f"round {number:5}  epsilon {epsilon:.4g}" for number, epsilon in price.curve),
    ]


def _sampling(clients: int, rate: float | None, cohort: int | None, everyone: bool) -> Sampling:
    from ringfort.core.errors import InvalidValue
    from ringfort.privacy import Everyone, FixedCohort, Poisson

    if [rate is not None, cohort is not None, everyone].count(True) != 1:
        raise InvalidValue("say how cohorts are drawn, once: --rate, --cohort or --everyone")
    if rate is not None:
        return Poisson(rate, clients)
    return Everyone(clients) if cohort is None else FixedCohort(cohort, clients)


def _relation(text: str) -> Neighbouring:
    from ringfort.core.errors import UnknownName
    from ringfort.privacy import Neighbouring

    known = {relation.value: relation for relation in Neighbouring}
    if text not in known:
        raise UnknownName.of("neighbouring relation", text, known)
    return known[text]
