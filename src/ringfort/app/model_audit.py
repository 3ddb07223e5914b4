"""From files and recipes to the audit of a model: reading it, gating a release, repairing it, rolling back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ringfort import data
from ringfort.app import build
from ringfort.app.recipe import AuditSpec, ModelSpec, Recipe
from ringfort.audit.model import (
    Holdout,
    Limits,
    ModelAudit,
    Slice,
    Verdict,
    audit_model,
    fine_tuned,
    holdout,
    label_slice,
    load_slice,
    pruned,
    unlearned,
)
from ringfort.audit.results import Manifest, TrainResult
from ringfort.core.errors import BadCheckpoint, DataUnavailable, Incompatible, MalformedUpdate
from ringfort.core.files import canonical_json, write_atomic
from ringfort.core.ports import Model
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import digest_of
from ringfort.core.values import F32
from ringfort.report.card import model_card
from ringfort.report.files import write_reports
from ringfort.report.model import ModelAuditResult, write_model_audit
from ringfort.rounds.journal import read_records

__all__ = [
    "EXIT_CODES",
    "MOST_LOST",
    "QUARANTINE",
    "ROLLBACK",
    "Subject",
    "audit_file",
    "audited",
    "checkpoints",
    "deliver",
    "limits",
    "manifest",
    "rolled_back",
    "save",
    "subject",
    "why_not",
]

EXIT_CODES = {Verdict.NOT_FLAGGED: 0, Verdict.FLAGGED: 4, Verdict.INCONCLUSIVE: 5}
QUARANTINE = "model.quarantined.safetensors"
ROLLBACK = "rollback"
MOST_LOST = 0.02
"""Accuracy that a repair may cost."""


@dataclass(frozen=True)
class Subject:
    """What an audit needs besides the parameters.

    Args:
        model: the family.
        data: hold-out data in two parts.
        seeds: of the searches.
        trusted: (d,) of a trusted model, or None.
        slices: red-team slices.
    """

    model: Model
    data: Holdout
    seeds: Seeds
    trusted: F32 | None = field(repr=False)
    slices: tuple[Slice, ...]

    def read(self, path: Path) -> F32:
        """The parameters in a model file.

        Raises:
            DataUnavailable (RF106): no such file.
            BadCheckpoint (RF702): not a file of this family, or a number that is not finite.
        """
        return _read(self.model, path)

    def audit(self, params: F32, chosen: Limits) -> ModelAudit:
        """Audit these parameters, on one thread of BLAS: the number of threads can change the last bits."""
        with threadpool_limits(limits=1):
            return audit_model(
                self.model, params, self.data, chosen, self.seeds, trusted=self.trusted, slices=self.slices
            )

    def repaired(self, params: F32, found: ModelAudit, how: str) -> F32:
        """The parameters after `unlearn`, `fine-tune` or `prune`, trained on the tools' part of the hold-out data.

        Raises:
            Incompatible (RF103): no trigger was recovered, so there is nothing to unlearn or to prune by.
        """
        rng, tools = self.seeds.child("repair"), self.data.tools
        if how == "fine-tune":
            return fine_tuned(self.model, params, tools, rng)
        if not found.suspects:
            raise Incompatible(f"--repair {how} needs a recovered trigger, and none was searched for: try fine-tune")
        if how == "unlearn":
            return unlearned(self.model, params, tools, found.suspects, rng)
        for trigger in found.suspects:
            params = pruned(self.model, params, tools, trigger).params
        return fine_tuned(self.model, params, tools, rng)


def subject(
    spec: ModelSpec,
    split: data.Split,
    seed: int,
    *,
    trusted: Path | None = None,
    slices: Sequence[str] = (),
    root_of: Recipe | None = None,
) -> Subject:
    """Everything around the model file.

    Args:
        spec: the family.
        split: the data set; the test part is the hold-out data.
        seed: of the searches.
        trusted: a model file that is known to be good.
        slices: .npz files, or `label=NAME`.
        root_of: a recipe whose server trains on some of the test part; those examples are left out.
    """
    classes = len(split.test.classes)
    made = build.family(spec, split.test.input_shape, classes)()
    clean = split.test if root_of is None else build.scenario(root_of, split).test
    parts = holdout(clean, Seeds(seed))
    return Subject(
        made,
        parts,
        Seeds(seed).under("model-audit"),
        None if trusted is None else _read(made, trusted),
        tuple(_slice(text, parts) for text in slices),
    )


def _slice(text: str, parts: Holdout) -> Slice:
    if text.startswith("label="):
        return label_slice(text.removeprefix("label="), parts.measure)
    return load_slice(Path(text), parts.measure)


def _read(model: Model, path: Path) -> F32:
    try:
        return _decoded(model, path.read_bytes(), path)
    except OSError as error:
        raise DataUnavailable(f"cannot read the model {path}: {error.strerror or error}") from error


def _decoded(model: Model, body: bytes, path: Path) -> F32:
    try:
        params = model.schema.decode(body)
    except MalformedUpdate as error:
        raise BadCheckpoint(f"{path} is not a file of this model: {error.message}") from error
    if not np.isfinite(params).all():
        raise BadCheckpoint(f"{path} holds a number that is not finite")
    return params


def limits(spec: AuditSpec) -> Limits:
    """A recipe's limits."""
    return Limits(**spec.model_dump(exclude={"trusted", "slices"}))


def audited(title: str, made: Manifest, file: str, digest: str, found: ModelAudit) -> ModelAuditResult:
    """An audit with what is needed to run it again."""
    return ModelAuditResult(title, datetime.now(UTC).isoformat(timespec="seconds"), made, file, digest, found, None)


def deliver(read: Recipe, split: data.Split, folder: Path, body: bytes, result: TrainResult) -> tuple[list[Path], int]:
    """Write what a training run leaves: its reports, and its model, if the recipe's [audit] lets it pass.

    Guarantees:
        With [audit], a model that is flagged, or about which nothing can be concluded, is written under `QUARANTINE`
        only, and no older `model.safetensors` or card is left beside it. The audit's report lies in `audit/`.

    Returns:
        What was written, the model first, and the exit code.
    """
    name, written, code = "model.safetensors", [], 0
    if read.audit is not None:
        about = subject(
            read.model,
            split,
            read.seed,
            trusted=None if read.audit.trusted is None else Path(read.audit.trusted),
            slices=read.audit.slices,
            root_of=read,
        )
        found = about.audit(_decoded(about.model, body, folder / name), limits(read.audit))
        code = EXIT_CODES[found.verdict]
        name = QUARANTINE if code else name
        (folder / "audit").mkdir(exist_ok=True)
        written = write_model_audit(
            folder / "audit", audited(read.title, result.manifest, name, digest_of(body), found)
        )
    held, free = {QUARANTINE: body}, {"model.safetensors": body, "model-card.md": model_card(result).encode()}
    for left in free if code else held:
        (folder / left).unlink(missing_ok=True)
    for file, data_of in (held if code else free).items():
        write_atomic(folder / file, data_of)
    return [*(folder / file for file in (held if code else free)), *written, *write_reports(folder, result)], code


def checkpoints(run: Path, about: Subject) -> Iterator[tuple[int, str, F32]]:
    """(round, digest, parameters) of the models that a run's journal still holds, the newest first.

    Raises:
        DataUnavailable (RF106): no journal there. BrokenChain (RF701), BadCheckpoint (RF702): not what was committed.
    """
    try:
        records, _ = read_records(run)
    except OSError as error:
        raise DataUnavailable(f"there is no run in {run}") from error
    for record in reversed(records):
        path = run / "models" / f"{record.next_model}.safetensors"
        if not path.exists():  # the journal keeps the last few
            return
        body = path.read_bytes()
        if digest_of(body) != record.next_model:
            raise BadCheckpoint(f"{path} does not have its digest")
        yield record.round, record.next_model, _decoded(about.model, body, path)


def manifest(split: data.Split, seed: int, read: Recipe | None, spec: ModelSpec) -> Manifest:
    """What is needed to run an audit again."""
    if read is not None:
        return replace(build.manifest(read, split), seed=seed)
    asked = {"data": split.source.name, "model": spec.model_dump(mode="json")}
    return Manifest(**build.environment(split), seed=seed, recipe=asked, recipe_digest=digest_of(canonical_json(asked)))


def audit_file(
    about: Subject, chosen: Limits, path: Path, made: Manifest, repair: str | None
) -> tuple[ModelAuditResult, F32 | None]:
    """Audit a file and, if it is flagged and a repair is wanted, audit what the repair leaves.

    Returns:
        The result, and the parameters to save: None without a repair that may be released.
    """
    params = about.read(path)
    found = about.audit(params, chosen)
    result = audited(f"Audit of {path.name}", made, str(path), digest_of(path.read_bytes()), found)
    if repair is None or found.verdict is not Verdict.FLAGGED:
        return result, None
    fixed = about.repaired(params, found, repair)
    after = about.audit(fixed, chosen)
    fine = after.verdict is Verdict.NOT_FLAGGED and after.accuracy.value >= found.accuracy.value - MOST_LOST
    return replace(result, repair=(repair, after)), fixed if fine else None


def rolled_back(about: Subject, chosen: Limits, run: Path, made: Manifest) -> tuple[ModelAuditResult, F32 | None]:
    """Audit a run's last model and, where it is flagged, those before it, until one is not flagged.

    Returns:
        The result for the last model, with the audit of the one that is left, and its parameters; None if none passes.
    """
    result: ModelAuditResult | None = None
    for number, digest, params in checkpoints(run, about):
        found = about.audit(params, chosen)
        if result is None:
            result = audited(f"Audit of {run.name}", made, f"round {number}", digest, found)
        else:
            result = replace(result, repair=(f"{ROLLBACK} to round {number}, model {digest[:12]}", found))
        if found.verdict is Verdict.NOT_FLAGGED:
            return result, params
    if result is None:
        raise DataUnavailable(f"the journal in {run} holds no model")
    return result, None


def save(about: Subject, params: F32, path: Path) -> Path:
    """Write a model file."""
    write_atomic(path, about.model.schema.encode(params))
    return path


def why_not(result: ModelAuditResult) -> str:
    """Why there is no repaired model, in words."""
    if result.repair is None:
        return f"the model is {result.audit.verdict.value}, so nothing was repaired"
    how, after = result.repair
    if after.verdict is not Verdict.NOT_FLAGGED:
        return f"after {how} it is still {after.verdict.value}"
    lost = 100 * (result.audit.accuracy.value - after.accuracy.value)
    return f"{how} cost {lost:.1f} points of accuracy, more than {100 * MOST_LOST:g}"
