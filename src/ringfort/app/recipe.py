"""Recipes: a federation and its drill in TOML, read strictly. Unknown keys and names are errors with a suggestion."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_origin, get_type_hints

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)

from ringfort.aggregate import MIXINGS, RULES
from ringfort.attacks import ATTACKS, WRAPPERS
from ringfort.client.sanitise import CHECKS
from ringfort.core.docs import title
from ringfort.core.errors import ConfigError, DataUnavailable, InvalidValue, UnknownName
from ringfort.core.files import canonical_json
from ringfort.core.tensors import digest_of
from ringfort.core.values import ClientId, client_id
from ringfort.secagg.seals import SEALS

__all__ = ["AuditSpec", "ModelSpec", "Recipe", "model", "parse", "parse_toml", "read", "rule", "to_toml"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Named(_Strict):
    """One of a registry's objects, by name, with its parameters."""

    name: str


def _name_only(value: object) -> object:
    """`"median"` is short for `{name = "median"}`."""
    return {"name": value} if isinstance(value, str) else value


def _models(registry: dict[str, type[Any]], given: frozenset[str] = frozenset()) -> list[type[_Named]]:
    """A pydantic model per registered dataclass, told apart by name, without fields `given` elsewhere."""
    models: list[type[_Named]] = []
    for name, kind in registry.items():
        hints = get_type_hints(kind)
        parameters: dict[str, Any] = {
            f.name: (_lists(hints[f.name]), ... if f.default is MISSING else f.default)
            for f in fields(kind)
            if f.name not in given
        }
        parameters["name"] = (Literal[name], ...)
        models.append(create_model(kind.__name__, __base__=_Named, __doc__=title(kind), **parameters))
    return models


def _lists(hint: Any) -> Any:
    """TOML has lists where a dataclass has tuples."""
    return Annotated[hint, Field(strict=False)] if get_origin(hint) is tuple else hint


def _one_of(models: list[type[_Named]], short: Callable[[object], object] = _name_only) -> Any:
    return Annotated[reduce(or_, models), Field(discriminator="name"), BeforeValidator(short)]


def _in_a_row(value: object) -> object:
    """`"arc | nnm | median"` and `["arc", "nnm", "median"]` are short for a chain of two mixings and a rule."""
    if isinstance(value, str) and "|" in value:
        value = [part.strip() for part in value.split("|")]
    if isinstance(value, list) and value:
        return {"name": "chain", "stages": value[:-1], "rule": value[-1]}
    return _name_only(value)


def _worn(value: object) -> object:
    """`"sleeper | pixel-backdoor"` and the same as a list are short for an attack that another one wears."""
    if isinstance(value, str) and "|" in value:
        value = [part.strip() for part in value.split("|")]
    if isinstance(value, list) and value:
        return {"name": "worn", "wrappers": value[:-1], "attack": value[-1]}
    return _name_only(value)


if TYPE_CHECKING:
    WrapperSpec: TypeAlias = _Named
    SingleAttackSpec: TypeAlias = _Named
    MixingSpec: TypeAlias = _Named
    SingleRuleSpec: TypeAlias = _Named
    RuleSpec: TypeAlias = _Named
    AttackSpec: TypeAlias = _Named
    SealSpec: TypeAlias = _Named
    CheckSpec: TypeAlias = _Named
else:
    _rules = _models(RULES, given=frozenset({"f"}))
    MixingSpec = _one_of(_models(MIXINGS, given=frozenset({"f"})))
    SingleRuleSpec = _one_of(_rules)
    CheckSpec = _one_of(_models(CHECKS, given=frozenset({"reference"})))
    _attacks = _models(ATTACKS)
    SingleAttackSpec = _one_of(_attacks)
    WrapperSpec = _one_of(_models(WRAPPERS, given=frozenset({"inner"})))
    SealSpec = _one_of(_models(SEALS, given=frozenset({"noise"})))


class ChainSpec(_Named):
    """Mixings from left to right, then a rule."""

    name: Literal["chain"]
    stages: list[MixingSpec] = Field(min_length=1)
    rule: SingleRuleSpec


class WornSpec(_Named):
    """An attack, and what is done to its updates and when, from the outside in."""

    name: Literal["worn"]
    wrappers: list[WrapperSpec] = Field(min_length=1)
    attack: SingleAttackSpec


if not TYPE_CHECKING:
    RuleSpec = _one_of([*_rules, ChainSpec], _in_a_row)
    AttackSpec = _one_of([*_attacks, WornSpec], _worn)


class WatchedSpec(_Named):
    """The recipe's watch, then a rule: `"watch | median"` in a drill's walls."""

    name: Literal["watch"]
    rule: RuleSpec


def _watched(value: object) -> object:
    """`"watch | nnm | median"` and `["watch", "nnm", "median"]` are short for the watch before a rule."""
    parts = [part.strip() for part in value.split("|")] if isinstance(value, str) else value
    if isinstance(parts, list) and len(parts) > 1 and parts[0] == "watch":
        return {"name": "watch", "rule": parts[1] if len(parts) == 2 else parts[1:]}
    return _in_a_row(value)


if TYPE_CHECKING:
    WallSpec: TypeAlias = _Named
else:
    WallSpec = _one_of([*_rules, ChainSpec, WatchedSpec], _watched)


_RULE: TypeAdapter[Any] = TypeAdapter(RuleSpec)


class IIDSplit(_Strict):
    """Every client gets a random share."""

    by: Literal["iid"]
    clients: int = Field(ge=1)


class DirichletSplit(_Strict):
    """Each class is dealt out in proportions drawn from Dirichlet(alpha): the smaller alpha, the more unequal."""

    by: Literal["dirichlet"]
    clients: int = Field(ge=1)
    alpha: float = Field(gt=0)
    min_rows: int = Field(default=1, ge=1)


class LabelSplit(_Strict):
    """Every client sees only a few labels."""

    by: Literal["label"]
    clients: int = Field(ge=1)
    labels_per_client: int = Field(ge=1)


class OwnerSplit(_Strict):
    """One client per natural owner of the data."""

    by: Literal["owner"]
    min_rows: int = Field(default=1, ge=1)


def _names(names: list[ClientId]) -> list[ClientId]:
    if doubled := sorted(name for name in set(names) if names.count(name) > 1):
        raise InvalidValue(f"data.split.clients names {doubled[0]} twice")
    return sorted(client_id(name) for name in names)


class PartySplit(_Strict):
    """Nothing is split: every client brings its own rows. All must agree on the classes and the shape of an input."""

    by: Literal["party"]
    clients: Annotated[list[ClientId], AfterValidator(_names)] = Field(min_length=1, description="their names")
    rows: str = Field(pattern=r"\{client\}", description="a client's .npz file, with {client} for its name")
    holdout: str = Field(description="the server's own .npz file, to measure with")
    classes: list[str] = Field(min_length=2, description="their names, in label order")
    input_shape: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)


class DataSpec(_Strict):
    """Which data, and how it is split over the clients."""

    name: str = Field(min_length=1, max_length=100)
    split: Annotated[IIDSplit | DirichletSplit | LabelSplit | OwnerSplit | PartySplit, Field(discriminator="by")]


class Cnn(_Strict):
    """A small convolutional network in torch."""

    name: Literal["cnn"]
    channels: int = Field(default=8, ge=1)
    hidden: int = Field(default=32, ge=1)


class Mlp(_Strict):
    """A perceptron with one hidden layer in torch."""

    name: Literal["mlp"]
    hidden: int = Field(default=64, ge=1)


class Logistic(_Strict):
    """Softmax regression in torch."""

    name: Literal["logistic"]


class NumpyMlp(_Strict):
    """A perceptron in plain NumPy, one width per hidden layer."""

    name: Literal["numpy-mlp"]
    hidden: list[Annotated[int, Field(ge=1)]] = Field(default=[64], min_length=1)


class NumpyLogistic(_Strict):
    """Softmax regression in plain NumPy."""

    name: Literal["numpy-logistic"]


ModelSpec = Annotated[
    Cnn | Mlp | Logistic | NumpyMlp | NumpyLogistic, Field(discriminator="name"), BeforeValidator(_name_only)
]


_MODEL: TypeAdapter[ModelSpec] = TypeAdapter(ModelSpec)


class TrainSpec(_Strict):
    """The federation's rounds and every client's local steps."""

    rounds: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    cohort: int | None = Field(default=None, ge=1, description="clients asked per round; all if left out")
    rate: float | None = Field(default=None, gt=0, lt=1, description="instead: each client's chance to be asked")
    deadline_s: float | None = Field(default=None, gt=0, description="seconds a round waits; no limit if left out")
    workers: int = Field(default=1, ge=1, description="processes that share the work; results do not depend on it")
    evaluate_on: int = Field(default=2_000, ge=1, description="test examples measured after each round")


class GateSpec(_Strict):
    """The admission gate's caps. They have no default."""

    max_norm: float = Field(gt=0)
    max_examples: int = Field(ge=1)


class DefenceSpec(_Strict):
    """How many attackers to bear, and the rule that `train` uses. Neither has a default."""

    f: int = Field(ge=0)
    rule: RuleSpec
    root_examples: int | None = Field(
        default=None, ge=1, description="hold-out examples the server trains on, for rules that need a reference"
    )


class _Noise(_Strict):
    """What every privacy mechanism must be told. What bounds the loss has no default."""

    epsilon: float = Field(gt=0, description="the budget; the run stops when it is spent")
    delta: float = Field(gt=0, lt=1)
    noise_multiplier: float = Field(gt=0, description="standard deviation of the noise, in clip norms")
    clip_norm: float = Field(gt=0)
    per_layer: bool = Field(default=False, description="clip every tensor to clip_norm / sqrt(number of tensors)")


class AdaptiveSpec(_Strict):
    """A clip that follows a noisy quantile of the clients' norms."""

    quantile: float = Field(gt=0, lt=1)
    learning_rate: float = Field(gt=0)
    count_noise: float = Field(gt=0)


class CentralSpec(_Noise):
    """A trusted server clips, adds up and adds noise once."""

    where: Literal["central"]
    neighbouring: Literal["add-or-remove-one", "replace-one"]
    adaptive: AdaptiveSpec | None = None


class LocalSpec(_Noise):
    """Each client adds noise enough for itself."""

    where: Literal["local"]
    neighbouring: Literal["zero-out-one", "replace-one"]


class DistributedSpec(_Noise):
    """Each client adds a share of the noise, inside a seal that opens only sums."""

    where: Literal["distributed"]
    neighbouring: Literal["zero-out-one", "replace-one"]
    alive: int = Field(ge=2, description="the fewest clients in any sum that the seal opens")
    colluding: int = Field(ge=0, description="how many of these may tell the server their shares, or add none")


class ExampleSpec(_Noise):
    """Each client trains by DP-SGD: clipped gradients of single examples, noise in every local step."""

    where: Literal["example"]
    neighbouring: Literal["add-or-remove-one"]
    examples: int = Field(
        ge=2, description="of a client, as planned, a public number: a step takes each with chance batch / examples"
    )


class ActivationSpec(_Strict):
    """The part of a guard that looks at what the client's data does in the model."""

    examples: int = Field(ge=1)
    nested: float = Field(gt=0, le=1)
    singles: float = Field(gt=0, le=1)


class GuardSpec(_Strict):
    """What a client refuses to train: a broadcast model that looks made to copy its data into the update."""

    twins: float = Field(ge=0, le=1, description="largest share of a layer's neurons with a near twin")
    largest: float = Field(gt=0, description="largest absolute weight")
    activations: ActivationSpec | None = None


class ReferenceSpec(_Strict):
    """An audited checkpoint of the recipe's own model."""

    path: str = Field(min_length=1)
    digest: str = Field(pattern="^[0-9a-fA-F]{64}$", description="SHA-256 of the file")


class SanitiseSpec(_Strict):
    """What every honest owner does to its data once, before it trains. Limits have no default."""

    max_set_aside: float = Field(ge=0, le=1, description="largest share of rows set aside without a person")
    class_floor: int = Field(ge=0, description="rows that a class must keep if it had them; 0 sets no floor")
    excess: Literal["stop", "flag"] = Field(description="over a limit: train nothing, or train on the rest and say so")
    checks: list[CheckSpec] = Field(default=[])
    specification: str | None = Field(default=None, description="a TOML or JSON file of schema and ranges")
    reference: ReferenceSpec | None = None


class IdentitySpec(_Strict):
    """Whose keys sign every message. Without it names are believed. The folders lie on this machine."""

    registry: str = Field(min_length=1, description="the authority's registry.jsonl, or a copy that is kept fresh")
    homes: str = Field(min_length=1, description="the folder with one enrolled member's folder for each client's name")
    server: str = Field(min_length=1, description="the server's name; the clients answer nobody else")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


ScoreNames = Annotated[list[str], Field(min_length=1), BeforeValidator(_as_list)]
"""One score, or several to be added up."""


class OwnPastSpec(_Strict):
    """Compares each client with its own past. May quarantine."""

    name: Literal["own-past"]
    score: ScoreNames
    drift: float = Field(ge=1, description="how much honest clients may drift; the promise rests on it")
    span: int = Field(default=64, ge=8, le=512)
    least: int = Field(default=5, ge=1)


class InCohortSpec(_Strict):
    """Compares each client with the others of its round. May not quarantine."""

    name: Literal["in-cohort"]
    score: ScoreNames


class ChartSpec(_Strict):
    """Adds up what a client exceeds its own mean by. May not quarantine."""

    name: Literal["drift"]
    score: ScoreNames


class PilotsSpec(_Strict):
    """Compares each client with those of honest pilot federations, which are run first. May quarantine."""

    name: Literal["pilots"]
    score: ScoreNames
    federations: int = Field(ge=1, description="pilots; together they need 1/alpha - 1 clients")
    window: int = Field(ge=1, description="rounds over which a client's scores are averaged")


DetectorSpec = Annotated[OwnPastSpec | PilotsSpec | InCohortSpec | ChartSpec, Field(discriminator="name")]


class WatchSpec(_Strict):
    """Detectors, and what follows from their evidence. `alpha` has no default, nor has what is watched."""

    alpha: float = Field(gt=0, lt=1, description="the share of honest clients that may ever be quarantined")
    preset: Literal["recommended"] | None = Field(default=None, description="instead of detectors and reputation")
    detectors: list[DetectorSpec] | None = Field(default=None, min_length=1)
    reputation: str | None = Field(default=None, description="the detector that moves the reputations")
    suspicious: float = Field(default=0.1, gt=0, le=1, description="a p-value of at most this is a bad round")
    trial: int = Field(default=5, ge=1, description="rounds as a newcomer, and clean rounds on probation")
    term: int = Field(default=10, ge=1, description="rounds of the first quarantine; each further one is twice as long")


PrivacySpec = Annotated[CentralSpec | LocalSpec | DistributedSpec | ExampleSpec, Field(discriminator="where")]


class LogSpec(_Strict):
    """Signed checkpoints over the round records, and where else they go."""

    key: str = Field(min_length=1, description="the private key's file, made by `ringfort log key`")
    to: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, description="files that the server cannot rewrite, or - for standard output"
    )


class AuditSpec(_Strict):
    """The audit that the last round's model must pass before `train` releases it. Limits have no default."""

    index: float = Field(lt=0, description="anomaly index of a class's mask; flagged at this or lower, if share agrees")
    share: float = Field(gt=0, description="mask size over the median class; flagged at this or lower, if index agrees")
    ratio: float = Field(gt=0, description="mask size over the trusted model's; flagged at this or lower")
    success: float = Field(ge=0, le=1, description="least success of a recovered trigger")
    canary: float = Field(gt=0, le=1, description="growth of a class's share under a known trigger")
    drop: float = Field(ge=0, le=1, description="recall lost against the trusted model")
    answer: float = Field(ge=0, le=1, description="share of a slice that gets one wrong answer")
    examples: int = Field(ge=1, description="hold-out examples of each class, at least")
    trusted: str | None = Field(default=None, description="a model file of this recipe that is known to be good")
    slices: list[str] = Field(default=[], description="red-team slices, as .npz files")


class ThresholdSpec(_Strict):
    """When a wall holds."""

    accuracy_loss: float = Field(ge=0, le=1)
    attack_success: float = Field(ge=0, le=1)


class DrillSpec(_Strict):
    """What `ringfort drill` tries."""

    hostile_fraction: float = Field(ge=0, lt=0.5)
    seeds: list[int] = Field(min_length=1)
    attacks: list[AttackSpec] = Field(min_length=1)
    walls: list[WallSpec] = Field(min_length=1, description="the first is the undefended mean")
    thresholds: ThresholdSpec
    owners_are_honest: bool = Field(
        default=False, description="poisoned data are infections; their owners sanitise as [sanitise] says"
    )


class Recipe(_Strict):
    """A whole recipe. Security parameters have no default."""

    title: str = Field(min_length=1, max_length=200)
    seed: int = Field(ge=0)
    data: DataSpec
    model: ModelSpec
    train: TrainSpec
    gate: GateSpec
    defence: DefenceSpec
    seal: SealSpec | None = None
    privacy: PrivacySpec | None = None
    guard: GuardSpec | None = None
    sanitise: SanitiseSpec | None = None
    log: LogSpec | None = None
    identity: IdentitySpec | None = None
    watch: WatchSpec | None = None
    drill: DrillSpec | None = None
    audit: AuditSpec | None = None

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, defaults included."""
        return self.model_dump(mode="json", exclude_none=True)

    def digest(self) -> str:
        """Names exactly this recipe."""
        return digest_of(canonical_json(self.resolved()))

    def federation_digest(self) -> str:
        """Names what must not change when a run is resumed: not title, length, workers, log, folders, drill, audit."""
        value = self.resolved()
        for key in ("title", "log", "drill", "audit"):
            value.pop(key, None)
        for key in ("rounds", "workers"):
            value["train"].pop(key)
        if isinstance(self.data.split, PartySplit):  # every party keeps its rows where it likes
            for key in ("rows", "holdout"):
                value["data"]["split"].pop(key)
        if self.identity is not None:  # folders may move; that names are believed only with a signature may not change
            value["identity"] = {"server": self.identity.server}
        return digest_of(canonical_json(value))


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply `key.path=value` overrides.

    Raises:
        DataUnavailable (RF106): no such file. InvalidValue (RF104), UnknownName (RF101): a bad recipe or override.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataUnavailable(f"there is no recipe {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"cannot read the recipe {path}: {error}") from error
    value = _toml(text, str(path))
    for override in overrides:
        _override(value, override)
    return parse(value)


def parse_toml(text: str) -> Recipe:
    """Check a recipe's text.

    Raises:
        InvalidValue (RF104), UnknownName (RF101): not TOML, or a bad recipe.
    """
    return parse(_toml(text, "the recipe"))


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's own, a number of 5,000 digits, brackets without end
        raise InvalidValue(f"{name} is not TOML: {error}") from error


def parse(value: dict[str, Any]) -> Recipe:
    """Check a recipe's contents.

    Raises:
        UnknownName (RF101), InvalidValue (RF104): the first problem, with how many more there are.
    """
    try:
        # Strict validation in JSON mode: a whole number is a fine float there, a string never a number.
        return Recipe.model_validate_json(json.dumps(value, default=_not_json))
    except ValidationError as error:
        raise _first_problem(error) from error


def rule(text: str) -> Any:
    """A rule as a recipe would name it in one string: `"median"`, `"nnm | trimmed-mean"`.

    Raises:
        UnknownName (RF101), InvalidValue (RF104): not one.
    """
    try:
        return _RULE.validate_python(text)
    except ValidationError as error:
        raise _first_problem(error) from error


def model(text: str) -> ModelSpec:
    """A model as a recipe would name it: `mlp`, or `{ name = "mlp", hidden = 128 }`.

    Raises:
        UnknownName (RF101), InvalidValue (RF104): not one.
    """
    value: Any = text
    if text.lstrip().startswith("{"):
        try:
            value = tomllib.loads(f"model = {text}")["model"]
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"--model takes a name or a TOML table, got {text[:60]!r}") from error
    try:
        return _MODEL.validate_python(value)
    except ValidationError as error:
        raise _first_problem(error) from error


def _not_json(value: object) -> object:
    raise InvalidValue(f"a recipe holds no {type(value).__name__}: write it as a string or a number")


def to_toml(value: dict[str, Any]) -> str:
    """The recipe as TOML."""
    return tomli_w.dumps(value)


def _override(value: dict[str, Any], text: str) -> None:
    path, found, right = text.partition("=")
    if not found or not all(path.split(".")):
        raise InvalidValue(f"--set takes key.path=value, got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {right}")
    except (ValueError, RecursionError):
        parsed = {}
    new = parsed["value"] if len(parsed) == 1 else right
    *parents, last = path.split(".")
    for key in parents:
        value = value.setdefault(key, {})
        if not isinstance(value, dict):
            raise InvalidValue(f"--set {path}: {key!r} is not a table")
    value[last] = new


def _first_problem(error: ValidationError) -> ConfigError:
    problems = error.errors(include_url=False)
    # An unknown key often explains why a needed one is missing, so it comes first.
    first = min(problems, key=lambda p: p["type"] not in ("extra_forbidden", "union_tag_invalid"))
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    where = ".".join(str(part) for part in first["loc"])
    context = first.get("ctx", {})
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        close = get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return UnknownName(f"unknown key {where!r}: {hint}{more}")
    if first["type"] == "union_tag_invalid":
        names = [name.strip(" '") for name in str(context["expected_tags"]).split(",")]
        unknown = UnknownName.of(f"name in {where!r}" if where else "name", context["tag"], names)
        return UnknownName(f"{unknown.message}{more}")
    if first["type"] == "missing":
        return InvalidValue(f"{where!r} is missing and has no default{more}")
    message = first["msg"][0].lower() + first["msg"][1:]
    return InvalidValue(f"{where!r}: {message}, got {str(first['input'])[:60]!r}{more}")


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that would have been allowed where an unknown one was found, from the recipe's JSON schema."""
    schema = Recipe.model_json_schema()
    here: Any = schema
    for part in loc[:-1]:
        here = _resolve(here, schema)
        if isinstance(part, int):
            here = here.get("items", {})
        elif part in here.get("properties", {}):
            here = here["properties"][part]
        elif "discriminator" in here:
            here = {"$ref": here["discriminator"]["mapping"].get(part, "#")}
    return sorted(_resolve(here, schema).get("properties", {}))


def _resolve(here: Any, schema: dict[str, Any]) -> Any:
    while True:
        if "$ref" in here:
            here = reduce(lambda node, key: node[key], here["$ref"].split("/")[1:], schema)
        elif "anyOf" in here and "discriminator" not in here:
            here = here["anyOf"][0]
        else:
            return here
