"""The federation loop: plan -> exchange -> admit or unseal -> view -> fuse -> commit, round after round."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from ringfort.core.arrays import decode_arrays, encode_arrays
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.context import EMPTY, Memory, RoundContext, wants
from ringfort.core.errors import Incompatible, NothingAdmitted, OutputUnwritable, ProtocolAbort, RingfortError
from ringfort.core.failpoints import failpoint
from ringfort.core.ports import Exchange, Failure, Model, Reply
from ringfort.core.randomness import SecureRandom, Seeds
from ringfort.core.seal import Opened
from ringfort.core.tensors import digest_of
from ringfort.core.values import F32, Aggregate, ClientId, Refusal, Verdict
from ringfort.core.views import Rows
from ringfort.core.wire import Broadcast
from ringfort.privacy import Claim
from ringfort.rounds.attempts import Attempt
from ringfort.rounds.cohort import draw
from ringfort.rounds.decisions import Decision
from ringfort.rounds.fuse import Defence, Fused, History, fuse, no_step, verdicts_of
from ringfort.rounds.gate import EQUIVOCATION, INNOCENT, Gate, RoundPlan
from ringfort.rounds.journal import Journal
from ringfort.rounds.private import PrivateRelease
from ringfort.rounds.record import RoundRecord
from ringfort.rounds.sealing import ServerSide
from ringfort.rounds.watching import NOBODY, Desk, decide, require_watch, said

__all__ = ["Federation", "State"]

Evaluate = Callable[[F32], dict[str, float]]

ATTEMPTS = 3
"""How often a sealed round is run before its abort ends the run; culprits are left out of the next attempt."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What came back in one round: what the server sees, and what became of everybody else.

    Args:
        opened: the view and who is in it; None if nobody is.
        refusals: who was turned away, by the transport or the gate.
        hostile: those of the cohort that were refused for what honest software does not send. Under a seal nobody: the
            rule runs on what its parties agreed on.
        failures: clients whose own code raised.
        aborts: why earlier attempts ended.
        examples: what the clients claim to have trained on, where the gate saw it.
    """

    opened: Opened | None
    refusals: tuple[Refusal, ...]
    failures: tuple[Failure, ...]
    aborts: tuple[str, ...] = ()
    examples: Mapping[ClientId, int] = field(default_factory=dict)
    hostile: frozenset[ClientId] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """A federation between two rounds: everything the next round needs, and the record of the last one.

    Args:
        params: the global model, (d,) float32.
        history: what is remembered about the clients.
        record: of the last round; its `round` says how many are done.
        memory: what the defence remembers.
        last_step: (d,) what the last round added to the model; None before the first.
    """

    params: F32 = field(repr=False)
    history: History
    record: RoundRecord
    memory: Memory = field(default_factory=dict, repr=False)
    last_step: F32 | None = field(default=None, repr=False)

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
        rate: instead of `cohort`: each client is asked with this chance (Poisson sampling).
        deadline_s: seconds a round may wait for replies; None waits for all.
        recipe: digest of the resolved recipe, pinned in the journal.
        journal: makes every round durable, and resumes from its last one; None keeps nothing on disk.
        evaluate: the server's measurements of a model; they go into the record and decide nothing. One that is not
            finite (the loss of a model that diverged) is left out of it.
        seal: how updates reach the server; None lets it read every one.
        reference: what the server itself learns from a broadcast, on data it trusts, for rules that compare with it.
        claim: what the clients' own noise promises; it goes into every record.
        release: makes every step private, centrally. Cohorts are then drawn from the operating system's randomness.
        decisions: what people decided about clients since so many decisions; asked before every round. Needs a watch.

    Guarantees:
        A client's message or failure never ends a round: it becomes a refusal, a failure or an absence in the record.
        The models are a function of the recipe's seed, the clients' data and their behaviour: run names and clocks
        are not in them. Clients' claimed example counts are checked and never used as weights.

        With a watch, quarantined and revoked clients are not asked, and every change of a standing is committed before
        it has an effect on later rounds. A person's decision that cannot be applied is recorded as refused.

    Raises:
        ToleranceExceeded (RF301): too few clients answered for the rule to bear its f.
        NothingAdmitted (RF604): no update at all passed the gate, or everybody is quarantined or revoked.
        ProtocolAbort (RF5xx): a sealed round could not be finished in three attempts; nothing was revealed.

    Does not protect: without a seal the server reads every update in the clear and can learn about clients' data from
        them; under one it still learns the view and the model.
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
    seal: ServerSide | None = None
    reference: Callable[[Broadcast], F32] | None = None
    rate: float | None = None
    release: PrivateRelease | None = None
    claim: Claim | None = None
    decisions: Callable[[int], tuple[Decision, ...]] | None = None

    def __post_init__(self) -> None:
        whole(1, rounds=self.rounds)
        if self.defence.watch is not None:
            require_watch(self.defence.watch, None if self.seal is None else self.seal.seal, self.rounds)
            if self.release is not None:
                raise Incompatible("central noise counts on every update in the sum: leave out the watch or the noise")
        elif self.decisions is not None:
            raise Incompatible("people decide about standings, and without a watch nobody has one")
        if self.cohort is not None:
            whole(1, len(self.exchange.members()), cohort=self.cohort)
        if self.rate is not None:
            fraction(rate=self.rate)
            if self.cohort is not None or not 0 < self.rate < 1:
                raise Incompatible("a rate lies inside (0, 1) and stands instead of a cohort's size")
        if self.release is not None:
            self.release.require(self.defence.rule.name)
            if self.seal is not None:
                raise Incompatible("central noise needs the updates in the clear: use distributed noise under a seal")
        if self.deadline_s is not None:
            positive(deadline_s=self.deadline_s)
        if self.reference is None and "reference" in wants(self.defence.rule):
            raise Incompatible(
                f"{self.defence.label} compares updates with the server's own: give it trusted root data"
            )

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

    def _resume(self, journal: Journal, head: RoundRecord) -> State:
        if head.recipe != self.recipe:
            raise Incompatible(
                "the journal belongs to a run with another recipe: resume it with the recipe.toml beside it, "
                "or write elsewhere"
            )
        history = History()
        for record in islice(journal.stream(), 1, None):
            history = history.after(record.verdicts)
        params = self.model.schema.decode(journal.model(head.next_model))
        return State(
            params, history, head, decode_arrays(journal.memory(head.memory)), self._last_step(journal, head, params)
        )

    def _last_step(self, journal: Journal, head: RoundRecord, params: F32) -> F32 | None:
        """What the last round added, if the defence wants to know."""
        if head.round == 0 or "last_step" not in wants(self.defence.rule):
            return None
        return params - self.model.schema.decode(journal.model(head.model))

    def barred(self, state: State) -> frozenset[ClientId]:
        """Members that are not to be asked in the next round, as things stand: quarantined or revoked."""
        return self._barred(state.round + 1, self._decided(state))

    def step(self, state: State) -> State:
        """One round: who is asked, what comes back, what is made of it, and its record, committed."""
        encoded = self.model.schema.encode(state.params)
        desk = self._decided(state)
        barred = self._barred(state.round + 1, desk)
        plan = self._plan(state, barred)
        collected = self._collect(plan, Broadcast.encode(plan.run, plan.round, encoded))
        opened = collected.opened
        try:
            fused, privacy = self._fuse(state, plan, collected, desk, self._empty(plan, barred))
        except RingfortError as error:
            self._failed(plan, collected, error)
            raise
        failpoint("round.fused")
        verdicts = () if opened is None else _of_members(fused.verdicts, opened)
        params = (state.params + fused.aggregate.delta).astype(np.float32, copy=False)
        after, memory = self.model.schema.encode(params), encode_arrays(fused.memory)
        record = RoundRecord(
            run=plan.run,
            round=plan.round,
            recipe=self.recipe,
            cohort=plan.cohort,
            rule=fused.defence.label,
            model=plan.model,
            aggregate=_digest(fused.aggregate),
            next_model=digest_of(after),
            verdicts=verdicts,
            refusals=collected.refusals,
            failures=collected.failures,
            absent=_absent(plan, collected, {v.client for v in verdicts}),
            metrics=self._measure(params),
            prev=state.record.digest,
            seal=self.seal.label if self.seal else "",
            leaked=opened.leaked if opened else "",
            aborts=collected.aborts,
            memory=digest_of(memory) if memory else "",
            privacy=privacy,
            attempts=self.journal.attempts_head if self.journal is not None else "",
            watch=self._said(plan, fused, barred, desk),
        )
        history = state.history.after(verdicts)
        return self._commit(State(params, history, record, fused.memory, params - state.params), after, memory)

    def _decided(self, state: State) -> Desk:
        """What people have decided since the last round, applied."""
        watch = self.defence.watch
        if watch is None:
            return NOBODY
        done = state.record.watch.get("decided", 0)
        new = () if self.decisions is None else self.decisions(done)
        members = self.exchange.members()
        return decide(watch, self.defence.watched(state.memory), new, members, state.round + 1, done)

    def _barred(self, number: int, desk: Desk) -> frozenset[ClientId]:
        """Members that are not to be asked in this round."""
        watch = self.defence.watch
        return frozenset() if watch is None else watch.barred(desk.memory, number) & set(self.exchange.members())

    def _plan(self, state: State, barred: frozenset[ClientId] = frozenset()) -> RoundPlan:
        number, members = state.round + 1, self.exchange.members()
        free = tuple(member for member in members if member not in barred)
        if members and not free:
            raise NothingAdmitted(
                f"round {number}: all {len(members)} clients are quarantined or revoked, so nobody can be asked; "
                "look at `ringfort client list`, release whom you trust, and go on with --resume"
            )
        if self.release is not None:
            self.release.require_population(len(free))
        source = self.seeds if self.release is None else SecureRandom()
        if self.rate is not None:  # the same coins whoever is barred
            drawn = draw(members, number, source, rate=self.rate)
            cohort = tuple(client for client in drawn if client not in barred)
        else:
            cohort = draw(free, number, source, size=self.cohort)
        return RoundPlan(
            run=state.record.run,
            round=number,
            cohort=cohort,
            model=state.record.next_model,
            schema=self.model.schema,
            deadline_s=self.deadline_s,
        )

    def _empty(self, plan: RoundPlan, barred: frozenset[ClientId]) -> int:
        """Places of the cohort that stay empty because their clients are barred."""
        members = self.exchange.members()
        if not barred:
            return 0
        if self.rate is not None:
            return len(barred.intersection(draw(members, plan.round, self.seeds, rate=self.rate)))
        return (self.cohort or len(members)) - len(plan.cohort)

    def _collect(self, plan: RoundPlan, frame: bytes) -> Collected:
        """Ask the cohort and open what comes back."""
        return self._in_the_clear(plan, frame) if self.seal is None else self._sealed(self.seal, plan, frame)

    def _in_the_clear(self, plan: RoundPlan, frame: bytes) -> Collected:
        """Every update, as the gate lets it in."""
        replies = self.exchange.exchange("train", dict.fromkeys(plan.cohort, frame), plan.deadline_s)
        failures = tuple(r for r in replies.values() if isinstance(r, Failure))
        refused = tuple(r for r in replies.values() if isinstance(r, Refusal))
        admitted = self.gate.admit(plan, [r for r in replies.values() if isinstance(r, Reply)])
        refusals = (*refused, *admitted.refusals)
        if not admitted.updates:
            return Collected(None, refusals, failures)
        view = Rows.of(admitted.updates)
        # Whoever forges a message of somebody else must not spend f: only proof counts before the gate.
        hostile = {r.client for r in refused if r.reason == EQUIVOCATION}
        hostile |= {r.client for r in admitted.refusals if r.reason not in INNOCENT}
        return Collected(
            Opened(view, {c: (c,) for c in view.clients}),
            refusals,
            failures,
            examples={update.client: update.num_examples for update in admitted.updates},
            hostile=frozenset(hostile.intersection(plan.cohort).difference(view.clients)),
        )

    def _sealed(self, seal: ServerSide, plan: RoundPlan, frame: bytes) -> Collected:
        """What the seal opens; a round that is aborted is run again without those whose own signatures blame them."""
        asked = plan
        culprits: tuple[Refusal, ...] = ()
        aborts: list[str] = []
        while True:
            try:
                opened, failures = seal.round(asked, frame, self.exchange, self.defence.rule)
            except ProtocolAbort as abort:
                aborts.append(str(abort))
                culprits += tuple(
                    Refusal(c, abort.code, "culprit", abort.message) for c in asked.cohort if c in abort.culprits
                )
                if len(aborts) == ATTEMPTS:
                    self._failed(plan, Collected(None, culprits, (), tuple(aborts)), abort)
                    raise
                asked = replace(asked, cohort=tuple(c for c in asked.cohort if c not in abort.culprits))
                continue
            return Collected(opened, (*culprits, *opened.refusals), failures, tuple(aborts))

    def _fuse(
        self, state: State, plan: RoundPlan, collected: Collected, desk: Desk, empty: int
    ) -> tuple[Fused, dict[str, Any]]:
        """The step, and what the record says about its privacy."""
        opened = collected.opened
        if self.release is not None:
            view = opened.view if opened is not None and isinstance(opened.view, Rows) else None
            delta, noted = self.release.step(view, self.model.schema.d, plan.round, state.record.privacy)
            names = view.clients if view is not None else ()
            aggregate = Aggregate(delta, names, np.full(len(names), 1 / max(1, len(names))), self.defence.rule.name)
            return Fused(aggregate, verdicts_of(aggregate), EMPTY, self.defence), noted
        noted = {} if self.claim is None else {"claim": self.claim.to_json()}
        context = self._context(state, plan, collected, desk)
        if opened is None:
            if empty and not plan.cohort:
                return no_step(self.model.schema.d, self.defence, context.memory), noted
            refusals, failures = collected.refusals, collected.failures
            first = refusals[0].reason if refusals else failures[0].error if failures else "no answer"
            raise NothingAdmitted(f"round {plan.round}: none of {len(plan.cohort)} updates was admitted ({first}, ...)")
        return fuse(opened.view, self.defence, context, len(collected.hostile), empty), noted

    def _context(self, state: State, plan: RoundPlan, collected: Collected, desk: Desk) -> RoundContext:
        """What the round offers to the defence besides the updates."""
        reference = None
        if "reference" in wants(self.defence.rule) and self.reference is not None:
            reference = self.reference(Broadcast(plan.run, plan.round, state.params, plan.model))
        seeds = self.seeds.under("fuse", plan.round)
        memory = state.memory if self.defence.watch is None else self.defence.with_watched(state.memory, desk.memory)
        return RoundContext(plan.round, seeds, state.last_step, reference, memory, collected.examples)

    def _said(self, plan: RoundPlan, fused: Fused, barred: frozenset[ClientId], desk: Desk) -> dict[str, Any]:
        """What the record says about the watch."""
        watch = self.defence.watch
        if watch is None:
            return {}
        after = self.defence.watched(fused.memory)
        return said(watch, after, plan.cohort, barred, fused.evidence, fused.transitions, desk)

    def _measure(self, params: F32) -> dict[str, float]:
        measured = {} if self.evaluate is None else self.evaluate(params)
        return {name: float(value) for name, value in measured.items() if math.isfinite(value)}

    def _commit(self, state: State, encoded: bytes, memory: bytes = b"") -> State:
        if self.journal is not None:
            self.journal.commit(state.record, encoded, memory)
        return state

    def _failed(self, plan: RoundPlan, collected: Collected, error: RingfortError) -> None:
        """Keep who was refused and why in a round that ends without a step; its record will never be written."""
        if self.journal is None or self.journal.head is None:
            return
        opened = collected.opened
        admitted = set() if opened is None else {name for names in opened.members.values() for name in names}
        attempt = Attempt(
            run=plan.run,
            round=plan.round,
            after=self.journal.head.digest,
            cohort=plan.cohort,
            code=error.code,
            message=error.message,
            refusals=collected.refusals,
            failures=collected.failures,
            absent=() if collected.aborts and opened is None else _absent(plan, collected, admitted),
            aborts=collected.aborts,
        )
        try:
            self.journal.fail(attempt)
        except OutputUnwritable as full:
            error.message += f" (and this could not be recorded: {full.message})"


def _of_members(verdicts: tuple[Verdict, ...], opened: Opened) -> tuple[Verdict, ...]:
    """One verdict per client: a group's verdict is that of each of its members, its weight shared among them."""
    out = []
    for verdict in verdicts:
        members: tuple[ClientId, ...] = opened.members[verdict.client]
        if members == (verdict.client,):
            out.append(verdict)
            continue
        reasons = tuple(f"{verdict.client}: {reason}" for reason in verdict.reasons)
        out += [Verdict(member, verdict.action, verdict.weight / len(members), reasons) for member in members]
    return tuple(sorted(out, key=lambda verdict: verdict.client))


def _absent(plan: RoundPlan, collected: Collected, admitted: Set[ClientId]) -> tuple[ClientId, ...]:
    """Who was asked and was not heard of."""
    heard = {r.client for r in collected.refusals} | {f.client for f in collected.failures} | admitted
    return tuple(client for client in plan.cohort if client not in heard)


def _digest(aggregate: Aggregate) -> str:
    return digest_of(np.ascontiguousarray(aggregate.delta).data)
