"""A federation whose clients are processes of their own: checked before it runs, supervised, reported after."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ringfort import report
from ringfort.app import build
from ringfort.app.deploy import Event, Jobs, Supervisor
from ringfort.app.model_audit import deliver
from ringfort.app.private import private
from ringfort.app.recipe import Recipe
from ringfort.app.results import write_provenance
from ringfort.audit.drill import point
from ringfort.audit.results import Manifest, TrainResult
from ringfort.audit.scenario import Scenario
from ringfort.audit.training import summary
from ringfort.core.errors import Incompatible, UnknownName
from ringfort.core.randomness import Seeds
from ringfort.core.values import ClientId, client_id
from ringfort.data import Split
from ringfort.rounds.fuse import Defence
from ringfort.rounds.journal import Journal
from ringfort.rounds.record import RoundRecord

__all__ = ["Distributed", "interruptions"]


@dataclass(frozen=True)
class Distributed:
    """What is known of a run before any process starts.

    Args:
        recipe: resolved.
        split: the data that are on this machine.
        folder: of the run.
        scenario: of the recipe.
        defence: of the recipe.
        manifest: for the report.
        started: on time.monotonic().
    """

    recipe: Recipe
    split: Split
    folder: Path
    scenario: Scenario
    defence: Defence
    manifest: Manifest
    started: float

    @classmethod
    def of(cls, recipe: Recipe, split: Split, folder: Path) -> Distributed:
        """Refuse a defence that cannot bear f of the clients, before anything runs.

        Raises:
            Incompatible (RF103), ToleranceExceeded (RF301): with the ways out.
        """
        started = time.monotonic()
        scenario, defence = build.scenario(recipe, split), build.defence(recipe)
        scenario.require(defence, recipe.defence.f, Seeds(recipe.seed))
        return cls(recipe, split, folder, scenario, defence, build.manifest(recipe, split), started)

    @cached_property
    def clients(self) -> tuple[ClientId, ...]:
        """Everybody who trains."""
        return self.scenario.clients(Seeds(self.recipe.seed))

    @property
    def helpers(self) -> tuple[ClientId, ...]:
        """The seal's."""
        return () if self.scenario.seal is None else self.scenario.seal.helpers()

    def named(self, names: list[str]) -> set[ClientId]:
        """These names, which must be clients'.

        Raises:
            UnknownName (RF101): one of them is nobody's.
        """
        for name in names:
            if name not in self.clients:
                raise UnknownName.of("client", name, self.clients)
        return {client_id(name) for name in names}

    def prepare(self) -> None:
        """Write down what is about to run; refuse what it cannot promise, and a folder with another run.

        Raises:
            Incompatible (RF103).
        """
        with Journal(self.folder) as journal:  # a run of another recipe is found before anything starts
            if journal.head is not None and journal.head.recipe != self.scenario.recipe:
                raise Incompatible("the folder holds a run of another recipe: name its recipe.toml, or write elsewhere")
            write_provenance(self.folder, self.recipe, self.manifest)
        with ExitStack() as stack:
            private(self.recipe, self.scenario, self.defence.rule.name, self.folder, stack)

    def supervise(
        self,
        jobs: Jobs,
        outcome: Path,
        without: set[ClientId],
        progress: report.TrainProgress,
        refresh: Callable[[], None] = lambda: None,
    ) -> list[Event]:
        """Run until the last round is committed, however many jobs it takes; what happened to them."""

        def observe(record: RoundRecord) -> None:
            if record.round == 0:
                progress.start("train", self.recipe.title, self.scenario.rounds)
            progress.advance("train", point(record))

        digest = self.scenario.recipe
        supervisor = Supervisor(
            jobs, self.folder, outcome, digest, self.clients, self.helpers, observe, without, refresh=refresh
        )
        supervisor.go()
        progress.finish("train", None)
        return supervisor.events

    def report(self, said: Callable[[Journal], tuple[str, ...]]) -> tuple[TrainResult, list[Path], int]:
        """The finished run's report and model, what was written, and the exit code if the model was held back.

        Args:
            said: what the report must say about where the clients lived.
        """
        with ExitStack() as stack, Journal(self.folder) as journal:
            made = private(self.recipe, self.scenario, self.defence.rule.name, self.folder, stack)
            result, model = summary(
                made.scenario,
                self.defence,
                Seeds(self.recipe.seed),
                journal,
                title=self.recipe.title,
                manifest=self.manifest,
                started=self.started,
                release=made.release,
                clients=said(journal),
            )
            written, code = deliver(self.recipe, self.split, self.folder, model, result)
        records = ["rounds.jsonl", *(["checkpoints.jsonl"] if self.recipe.log else [])]
        return result, [*written, *(self.folder / name for name in records)], code


def interruptions(events: list[Event]) -> list[str]:
    """What a report says about jobs that ended before their time."""
    lines = ["Any enrolled client can end a job by letting its process die; the run then goes on without it."]
    for event in events:
        if event.what == "ended":
            whose = f" Left out since: {', '.join(event.culprits)}." if event.culprits else ""
            lines.append(f"After round {max(event.round, 0)} a job ended before its time: {event.why}.{whose}")
    return lines
