"""The federation loop: plan -> exchange -> admit -> view -> fuse -> commit, round after round."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from ringfort.core.checks import positive, whole
from ringfort.core.errors import Incompatible, NothingAdmitted
from ringfort.core.ports import Exchange, Failure, Model, Reply
from ringfort.core.randomness import SecureRandom, Seeds
from ringfort.core.tensors import digest_of
from ringfort.core.values import F32, Aggregate
from ringfort.core.views import Rows
from ringfort.core.wire import Broadcast
from ringfort.rounds.fuse import Defence, History, fuse
from ringfort.rounds.gate import INNOCENT, Gate, RoundPlan
from ringfort.rounds.journal import Journal
from ringfort.rounds.record import RoundRecord

__all__ = ["Federation", "State"]

Evaluate = Callable[[F32], dict[str, float]]


@dataclass(frozen=True, slots=True)
class State:
    """A federation between two rounds: everything the next round needs, and the record of the last one.

    Args:
        params: the global model, (d,) float32.
        history: what is remembered about the clients.
        record: of the last round; its `round` says how many are done.
    """

    params: F32 = field(repr=False)
    history: History
    record: RoundRecord

    @property
    def round(self) -> int:
        """Rounds done."""
        return self.record.round


@dataclass(frozen=True)
class Federation:
    """A federation of strangers, run round by round by a server that believes none of them.

    Args:
        exchange: where the clients live.
        model: the family that is trained.
        defence: the walls.
        gate: the door.
        rounds: how many, >= 1.
        seeds: root of the simulation's randomness: initial model and cohorts.
        cohort: clients asked per round, drawn uniformly without replacement; None asks everyone.
        deadline_s: seconds a round may wait for replies; None waits for all.
        recipe: digest of the resolved recipe, pinned in the journal.
        journal: makes every round durable, and resumes from its last one; None keeps nothing on disk.
        evaluate: the server's measurements of a model; they go into the record and decide nothing. One that is not
            finite (the loss of a model that diverged) is left out of it.

    Guarantees:
        A client's message or failure never ends a round: it becomes a refusal, a failure or an absence in the record.
        The models are a function of the recipe's seed, the clients' data and their behaviour: run names and clocks
        are not in them. Clients' claimed example counts are checked and never used as weights.

    Raises:
        ToleranceExceeded (RF301): too few clients answered for the rule to bear its f.
        NothingAdmitted (RF604): no update at all passed the gate.

    Does not protect: the server reads every update in the clear and can learn about clients' data from them; a hostile
        server is outside this loop's threat model until a seal and differential privacy are added.
    """

    exchange: Exchange
    model: Model
    defence: Defence
    gate: Gate
    _: KW_ONLY
    rounds: int
    seeds: Seeds
    cohort: int | None = None
    deadline_s: float | None = None
    recipe: str = ""
    journal: Journal | None = None
    evaluate: Evaluate | None = None

    def __post_init__(self) -> None:
        whole(1, rounds=self.rounds)
        if self.cohort is not None:
            whole(1, len(self.exchange.members()), cohort=self.cohort)
        if self.deadline_s is not None:
            positive(deadline_s=self.deadline_s)

    def run(self) -> State:
        """Run (or resume) until `rounds` rounds are committed; return the last state."""
        return deque(self.states(), maxlen=1)[0]

    def states(self) -> Iterator[State]:
        """The state to start from, then the state after each round; every one is committed before it is yielded."""
        state = self.begin()
        yield state
        while state.round < self.rounds:
            state = self.step(state)
            yield state

    def begin(self) -> State:
        """The state to start from: the journal's last committed round, or round 0 with a fresh model."""
        if self.journal is not None and self.journal.head is not None:
            return self._resume(self.journal, self.journal.head)
        params = self.model.initial(self.seeds.under("model"))
        encoded = self.model.schema.encode(params)
        genesis = RoundRecord(
            run=SecureRandom().token(16).hex(),
            round=0,
            recipe=self.recipe,
            cohort=(),
            rule=self.defence.label,
            model="",
            aggregate="",
            next_model=digest_of(encoded),
            verdicts=(),
            refusals=(),
            failures=(),
            absent=(),
            metrics=self._measure(params),
            prev="",
        )
        return self._commit(State(params, History(), genesis), encoded)

    def step(self, state: State) -> State:
        """One round."""
        encoded = self.model.schema.encode(state.params)
        plan = self._plan(state)
        frame = Broadcast.encode(plan.run, plan.round, encoded)
        replies = self.exchange.exchange("train", dict.fromkeys(plan.cohort, frame), plan.deadline_s)
        admitted = self.gate.admit(plan, [r for r in replies.values() if isinstance(r, Reply)])
        failures = tuple(r for r in replies.values() if isinstance(r, Failure))
        if not admitted.updates:
            first = admitted.refusals[0].reason if admitted.refusals else failures[0].error if failures else "no answer"
            raise NothingAdmitted(f"round {plan.round}: none of {len(plan.cohort)} updates was admitted ({first}, ...)")
        view = Rows.of(admitted.updates)
        hostile = {refusal.client for refusal in admitted.refusals if refusal.reason not in INNOCENT}
        defence = self.defence.facing(view.n, len(hostile & set(plan.cohort) - set(view.clients)))
        aggregate, verdicts, history = fuse(view, defence, state.history)
        params = (state.params + aggregate.delta).astype(np.float32, copy=False)
        after = self.model.schema.encode(params)
        record = RoundRecord(
            run=plan.run,
            round=plan.round,
            recipe=self.recipe,
            cohort=plan.cohort,
            rule=defence.label,
            model=plan.model,
            aggregate=_digest(aggregate),
            next_model=digest_of(after),
            verdicts=verdicts,
            refusals=admitted.refusals,
            failures=failures,
            absent=tuple(client for client in plan.cohort if client not in replies),
            metrics=self._measure(params),
            prev=state.record.digest,
        )
        return self._commit(State(params, history, record), after)

    def _plan(self, state: State) -> RoundPlan:
        number = state.round + 1
        members = tuple(sorted(self.exchange.members()))
        if self.cohort is not None:
            size = min(self.cohort, len(members))
            drawn = self.seeds.child("cohort", number).choice(len(members), size, replace=False)
            members = tuple(members[i] for i in sorted(drawn))
        return RoundPlan(
            run=state.record.run,
            round=number,
            cohort=members,
            model=state.record.next_model,
            schema=self.model.schema,
            deadline_s=self.deadline_s,
        )

    def _resume(self, journal: Journal, head: RoundRecord) -> State:
        if head.recipe != self.recipe:
            raise Incompatible(
                "the journal belongs to a run with another recipe: resume it with the recipe.toml beside it, "
                "or write elsewhere"
            )
        history = History()
        for record in journal.records[1:]:
            history = history.after(record.verdicts)
        return State(self.model.schema.decode(journal.model(head.next_model)), history, head)

    def _commit(self, state: State, encoded: bytes) -> State:
        if self.journal is not None:
            self.journal.commit(state.record, encoded)
        return state

    def _measure(self, params: F32) -> dict[str, float]:
        measured = {} if self.evaluate is None else self.evaluate(params)
        return {name: float(value) for name, value in measured.items() if math.isfinite(value)}


def _digest(aggregate: Aggregate) -> str:
    return digest_of(np.ascontiguousarray(aggregate.delta).data)
