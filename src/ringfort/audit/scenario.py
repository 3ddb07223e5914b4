"""A federation to be trained or attacked, as plain objects: what a recipe is turned into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ringfort.attacks.threat import Attack
from ringfort.audit.adversary import LiveDefence, infiltrate
from ringfort.audit.measure import evaluator
from ringfort.audit.results import SanitisedRow
from ringfort.client.guards import Guard
from ringfort.client.node import LocalClient, client_names, local_clients
from ringfort.client.private import Privacy
from ringfort.client.sanitise import Report, Sanitiser, sanitised
from ringfort.core.dataset import Dataset
from ringfort.core.ports import Exchange, LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.seal import COORDINATOR, Seal
from ringfort.core.values import F32, I64, ClientId
from ringfort.core.wire import Broadcast
from ringfort.engine.sealed import SealedExchange
from ringfort.engine.signed import People
from ringfort.rounds.decisions import Decision
from ringfort.rounds.federation import Federation
from ringfort.rounds.fuse import Defence, require
from ringfort.rounds.gate import Gate
from ringfort.rounds.journal import Journal
from ringfort.rounds.private import PrivateRelease
from ringfort.rounds.sealing import ServerSide, require_sight
from ringfort.rounds.watching import require_watch

__all__ = ["Scenario", "sanitised_row"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A federation without its walls and attackers: the same one for every cell of a drill.

    Args:
        train: the data that is split over the clients.
        test: the server's hold-out, which only measures.
        split: makes one index array per client from the seeds.
        model: makes the model; called once per process.
        training: every client's local steps.
        gate: the door.
        rounds: per federation.
        cohort: clients asked per round; None asks everyone.
        deadline_s: per round; None waits.
        sample: test examples used after each round; the final model is always measured on all of them.
        workers: processes that share the work.
        recipe: digest of the resolved recipe.
        seal: how updates reach the server; None lets it read every one.
        rate: instead of `cohort`: each client is asked with this chance (Poisson sampling).
        privacy: what every client does so that its update tells little.
        guard: what every client does to a broadcast model before it trains it.
        sanitiser: what every honest owner does to its data once, before it trains; None trains on all of them.
        root: data that the server itself holds and trusts, for rules that compare with what it learns there.
        people: whose keys sign every message; None believes every name.
        names: what the clients are called, in the order of the parts; () calls them client-00, client-01, ...
    """

    train: Dataset = field(repr=False)
    test: Dataset = field(repr=False)
    split: Callable[[Dataset, Seeds], tuple[I64, ...]]
    model: Callable[[], Model] = field(repr=False)
    training: LocalTraining
    gate: Gate
    rounds: int
    cohort: int | None
    deadline_s: float | None
    sample: int
    workers: int
    recipe: str
    seal: Seal | None = None
    rate: float | None = None
    privacy: Privacy | None = None
    guard: Guard | None = None
    root: Dataset | None = field(default=None, repr=False)
    sanitiser: Sanitiser | None = None
    people: People | None = None
    names: tuple[ClientId, ...] = ()
    _outcomes: dict[str, tuple[Dataset, str | None, Report]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def parts(self, seeds: Seeds) -> tuple[I64, ...]:
        """The rows of each client."""
        return self.split(self.train, seeds.under("split"))

    def clients(self, seeds: Seeds) -> tuple[ClientId, ...]:
        """The clients' names, in the order of their parts."""
        return self.names or client_names(len(self.parts(seeds)))

    def rows(self, seeds: Seeds) -> int:
        """How many names a rule sees in a round: clients, or groups of them."""
        n = self.cohort or len(self.parts(seeds))
        return n if self.seal is None else self.seal.rows(n)

    def require(self, defence: Defence, f: int, seeds: Seeds) -> None:
        """Refuse, before the first round, a defence that cannot see through the seal, or bear f of the names it shows.

        Raises:
            Incompatible (RF103), ToleranceExceeded (RF301): with the ways out.
        """
        if self.seal is not None:
            require_sight(defence.rule, self.seal)
        if defence.watch is not None:
            require_watch(defence.watch, self.seal, self.rounds)
        require(defence, self.rows(seeds), f)

    def sampled(self, seeds: Seeds) -> Dataset:
        """The test examples that are measured after each round."""
        return self.test.take(np.sort(seeds.child("evaluation").permutation(len(self.test))[: self.sample]))

    def federation(
        self,
        seeds: Seeds,
        defence: Defence,
        *,
        attack: Attack | None = None,
        hostile: tuple[ClientId, ...] = (),
        workers: int = 1,
        journal: Journal | None = None,
        release: PrivateRelease | None = None,
        owners_are_honest: bool = False,
        observe: Callable[[SanitisedRow], None] | None = None,
        decisions: Callable[[int], tuple[Decision, ...]] | None = None,
    ) -> Federation:
        """A federation that is ready to run. Close its exchange afterwards.

        `owners_are_honest`: those whom a data attack poisons sanitise what it left, as honest owners of infected data.
        `observe` is told what each client set aside.
        """
        model = self.model()
        parts, names = self.parts(seeds), self.clients(seeds)
        clients = local_clients(self.train, parts, model, self.training, seeds, self.privacy, self.guard, names)
        reference = None if self.root is None else self._trainer(model, self.root, seeds)
        live = LiveDefence(defence, self.gate, seeds, reference)
        sanitise = None if self.sanitiser is None else self._sanitise(self.sanitiser, observe)
        exchange = infiltrate(clients, attack, hostile, seeds, workers, live, sanitise, owners_are_honest)
        side = None
        if self.seal is not None:
            parties = (*exchange.members(), *self.seal.helpers(), COORDINATOR)
            keys = None if self.people is None else self.people.keys(parties)
            exchange = SealedExchange(exchange, self.seal, model.schema, defence.rule, keys)
            side = ServerSide(self.seal, exchange.server)
        if self.people is not None:
            self.people.require(exchange.members())
            exchange = self.people.exchange(exchange, model.schema, sealed=self.seal is not None)
        return self.over(
            exchange,
            side,
            seeds,
            defence,
            model,
            attack=attack,
            journal=journal,
            release=release,
            decisions=decisions,
        )

    def over(
        self,
        exchange: Exchange,
        side: ServerSide | None,
        seeds: Seeds,
        defence: Defence,
        model: Model,
        *,
        attack: Attack | None = None,
        journal: Journal | None = None,
        release: PrivateRelease | None = None,
        decisions: Callable[[int], tuple[Decision, ...]] | None = None,
    ) -> Federation:
        """The server's half, over clients that live anywhere; `side` is its half of the seal, if there is one."""
        reference = None if self.root is None else self._trainer(model, self.root, seeds)
        return Federation(
            exchange=exchange,
            model=model,
            defence=defence,
            gate=self.gate,
            rounds=self.rounds,
            seeds=seeds,
            cohort=self.cohort,
            deadline_s=self.deadline_s,
            recipe=self.recipe,
            journal=journal,
            evaluate=evaluator(model, self.sampled(seeds), attack),
            seal=side,
            rate=self.rate,
            release=release,
            claim=None if self.privacy is None else self.privacy.mechanism.claim,
            reference=reference,
            decisions=decisions,
        )

    def _sanitise(
        self, sanitiser: Sanitiser, observe: Callable[[SanitisedRow], None] | None
    ) -> Callable[[LocalClient], LocalClient]:
        """Sanitise a client, once per contents: the trials of a drill share their clients' data."""

        def clean(client: LocalClient) -> LocalClient:
            key = f"{client.client} {client.data.digest()}"
            if key not in self._outcomes:
                made, report = sanitised(client, sanitiser)
                self._outcomes[key] = made.data, made.stopped, report
            data, stopped, report = self._outcomes[key]
            if observe is not None:
                observe(sanitised_row(client.client, report, trains=stopped is None))
            return replace(client, data=data, stopped=stopped)

        return clean

    def _trainer(self, model: Model, root: Dataset, seeds: Seeds) -> Callable[[Broadcast], F32]:
        """What the server itself learns from a broadcast, as a client would."""
        return lambda broadcast: model.train(
            broadcast.params, root, self.training, seeds.child("train", broadcast.round, "server")
        )


def sanitised_row(client: ClientId, report: Report, *, trains: bool) -> SanitisedRow:
    """What a federation's report says about one client's data: counts."""
    return SanitisedRow(client, report.n_rows, len(report.suspects), report.by_check(), report.excess, trains)
