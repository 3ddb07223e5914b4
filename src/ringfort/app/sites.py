"""What each site of a deployment does, from its own profile: serve the rounds, train, or help to seal.

Arguments, as `deploy` writes them into a site's profile:

    recipe  the recipe's file    party  the site's name    folder  for what the party keeps (the server: the run folder)
    home    its identity's folder    grants  everybody's enrolments    kept  where a client remembers what it answered
    registry  the registry, or a copy that is kept fresh (the server's)    outcome  its word about how a job ended
    log  where the log's key lies, and where checkpoints go (the server's, if the recipe has a [log])
    rows  a client's own rows (if the recipe says that the parties bring them)
    holdout  the rows that the round server measures with, likewise
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringfort.app import build
from ringfort.app.loading import load_here
from ringfort.app.members import outside, server_of
from ringfort.app.private import private
from ringfort.app.recipe import CentralSpec, LogSpec, Recipe, read
from ringfort.audit.scenario import Scenario
from ringfort.client.node import LocalClient
from ringfort.client.sanitise.clients import sanitised
from ringfort.client.sealed import SealedClient
from ringfort.core.errors import Incompatible, JobAborted, RingfortError
from ringfort.core.files import canonical_json, write_atomic
from ringfort.core.keys import Directory
from ringfort.core.randomness import Seeds
from ringfort.core.seal import Helper
from ringfort.core.values import ClientId, client_id
from ringfort.core.wire import FRAME_OVERHEAD_BYTES
from ringfort.engine.in_process import Node, words
from ringfort.engine.nvflare.exchange import NVFlareExchange
from ringfort.engine.signed import ClientSide, SignedExchange, SignedNode
from ringfort.identity import Grant, Home, RegistryView, directory_of
from ringfort.identity.home import Identity
from ringfort.rounds.checkpoint import Signing
from ringfort.rounds.decisions import Decisions
from ringfort.rounds.journal import Journal
from ringfort.rounds.places import place
from ringfort.rounds.sealing import ServerSide

if TYPE_CHECKING:
    from ringfort.engine.nvflare.site import Job

__all__ = ["client", "helper", "log_profile", "serve"]

PATIENCE_S = 600.0
"""How long a round waits whose recipe has no train.deadline_s."""
_SIGNED_BYTES = 1 << 16
"""What a signed answer is longer than its body, at most."""
_SEALED_FACTOR = 64
"""A sealed message is longer than an update: twice with shares, up to about 25 times under encryption."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Place:
    """One party's view of the recipe."""

    recipe: Recipe
    scenario: Scenario
    seeds: Seeds
    party: ClientId
    folder: Path
    identity: Identity = field(repr=False)
    directory: Directory = field(repr=False)

    @classmethod
    def of(cls, said: dict[str, Any]) -> _Place:
        recipe, party = read(Path(said["recipe"])), client_id(said["party"])
        identity, now = Home(Path(said["home"])).identity(), _now()
        grants = [Grant.decode(path.read_bytes()) for path in sorted(Path(said["grants"]).glob("*.json"))]
        lasting = [grant for grant in grants if grant.enrolment.expires > now]  # who is over takes part in no seal
        return cls(
            recipe,
            build.scenario(recipe, load_here(recipe, party, said)),
            Seeds(recipe.seed),
            party,
            Path(said["folder"]),
            identity,
            directory_of(lasting, identity.pins.authority, now),
        )

    @property
    def server(self) -> ClientId:
        """Whom the clients answer."""
        return server_of(self.recipe)


def log_profile(recipe: Recipe, run: Path) -> dict[str, Any] | None:
    """What the server's own profile says about the recipe's [log]; None without one. Paths become absolute.

    Raises:
        Incompatible (RF103): a place or a key that a server's process cannot have.
        InvalidValue (RF104): a place that names a program.
    """
    spec = recipe.log
    if spec is None:
        return None
    if "-" in spec.to:
        raise Incompatible(
            "log.to names standard output, and that of a server's process is a file of NVFlare's in the run: name a "
            "file that the server cannot rewrite, or use `ringfort train`"
        )
    for text in spec.to:
        place(text, commands=False)
    to = [str(outside(run, Path(text), f"log.to {text!r}")) for text in spec.to]
    return {"key": str(outside(run, Path(spec.key), "log.key")), "to": to}


def _signing(place: _Place, said: dict[str, Any]) -> Signing | None:
    """As the profile's `log` says. The key is read here, at the server, when a job begins."""
    log = said.get("log")
    if log is None and place.recipe.log is not None:
        raise Incompatible("the recipe has a [log] and this site's profile does not: prepare the site again")
    spec = None if log is None else LogSpec(**log)
    return build.signing(place.recipe.model_copy(update={"log": spec}), place.folder, None, ())


def client(said: dict[str, Any]) -> Node:
    """A client: it keeps its own rows of the data, its own key and its own ledger, and signs what it says."""
    place = _Place.of(said)
    scenario = place.scenario
    if place.recipe.privacy is not None and not isinstance(place.recipe.privacy, CentralSpec):
        with ExitStack() as stack:
            rule = build.defence(place.recipe).rule.name
            scenario = private(place.recipe, scenario, rule, place.folder, stack).scenario
    parts = scenario.parts(place.seeds)
    names = scenario.clients(place.seeds)
    if place.party not in names:
        raise Incompatible(f"{place.party} is none of the {len(names)} clients of this recipe")
    rows = scenario.train.take(parts[names.index(place.party)])
    model = scenario.model()
    local = LocalClient(place.party, model, rows, scenario.training, place.seeds, scenario.privacy, scenario.guard)
    if scenario.sanitiser is not None:
        local, _ = sanitised(local, scenario.sanitiser)  # what was set aside is the client's to know
    inner: Node = local
    if scenario.seal is not None:
        half = scenario.seal.client(place.party, place.identity.key, place.directory)
        inner = SealedClient(place.party, partial(local.handle, "train"), model.schema, half)
    kept = Path(said["kept"])
    kept.mkdir(parents=True, exist_ok=True)
    most = model.schema.encoded_bytes + FRAME_OVERHEAD_BYTES
    side = ClientSide(Home(Path(said["home"])).identity, place.server, clock=_now, max_request_bytes=most, folder=kept)
    return SignedNode(inner, side, sealed=scenario.seal is not None)


@dataclass(frozen=True)
class _HelperNode:
    """A seal's helper as an engine holds it."""

    client: ClientId
    inner: Helper

    def handle(self, stage: str, payload: bytes) -> bytes:
        return self.inner.handle(stage, payload)


def helper(said: dict[str, Any]) -> Node:
    """A seal's helper, with its own key and its own copy of the defence."""
    place = _Place.of(said)
    seal = place.scenario.seal
    if seal is None:
        raise Incompatible("this recipe has no seal, so it needs no helper")
    decide = build.defence(place.recipe).rule
    return _HelperNode(place.party, seal.helper(place.party, place.identity.key, place.directory, decide))


def serve(said: dict[str, Any], job: Job) -> None:
    """Run the federation until it is done; say in `outcome` how it ended. Never raises: the job then just ends."""
    outcome = Path(said["outcome"])
    try:
        _serve(_Place.of(said), said, job)
        said_at_end = {"status": "done"}
    except JobAborted as error:
        said_at_end = {"status": "aborted", "message": error.message}
    except RingfortError as error:
        said_at_end = {"status": "failed", "code": error.code, "message": error.message}
    except BaseException as error:
        said_at_end = {"status": "failed", "code": "RF600", "message": words(error)}
    write_atomic(outcome, canonical_json({"run": job.run, **said_at_end}))


def _serve(place: _Place, said: dict[str, Any], job: Job) -> None:
    defence = build.defence(place.recipe)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(place.folder, _signing(place, said)))
        made = private(place.recipe, place.scenario, defence.rule.name, place.folder, stack)
        scenario, model = made.scenario, made.scenario.model()
        seal = scenario.seal
        names = scenario.clients(place.seeds)
        members = tuple(name for name in names if name in job.calls)
        body = model.schema.encoded_bytes + FRAME_OVERHEAD_BYTES
        largest = body if seal is None else body * _SEALED_FACTOR
        inner = NVFlareExchange(
            job.calls, members, job.aborted, max_reply_bytes=largest + _SIGNED_BYTES, patience_s=PATIENCE_S
        )
        registry = RegistryView(Path(said["registry"]), place.identity.pins.authority)
        exchange = SignedExchange(
            inner,
            Home(Path(said["home"])).identity,
            registry,
            clock=_now,
            max_reply_bytes=body,
            sealed=seal is not None,
            folder=place.folder,
        )
        side = None if seal is None else ServerSide(seal, seal.server(place.identity.key, place.directory))
        able = len(exchange.members())  # without those who were left out, revoked or have expired
        if scenario.cohort is not None and scenario.cohort > able:
            scenario = replace(scenario, cohort=able)
        federation = scenario.over(
            exchange,
            side,
            place.seeds,
            defence,
            model,
            journal=journal,
            release=made.release,
            decisions=None if defence.watch is None else Decisions(place.folder).since,
        )
        try:
            for _ in federation.states():
                pass
        finally:
            exchange.close()  # the last receipts


def outcome_of(path: Path, run: str) -> dict[str, str] | None:
    """What the server said about the end of this job, if it said anything."""
    try:
        said: dict[str, str] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return said if said.get("run") == run else None
