"""A federation in somebody else's loop: another engine asks the clients, Ringfort judges what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ringfort.core.errors import Incompatible, MalformedUpdate, QuotaExceeded
from ringfort.core.files import canonical_json
from ringfort.core.ports import Failure, Outcome, Reply
from ringfort.core.randomness import SecureRandom, Seeds
from ringfort.core.tensors import Schema, digest_of
from ringfort.core.values import F32, ClientId, Refusal
from ringfort.core.wire import Broadcast, encode_update
from ringfort.rounds.decisions import Decisions
from ringfort.rounds.federation import Evaluate, Federation, State
from ringfort.rounds.fuse import Defence, require
from ringfort.rounds.gate import Gate
from ringfort.rounds.journal import Journal
from ringfort.rounds.private import PrivateRelease

__all__ = ["Answer", "Hosted"]

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What another engine brought back from a client; nobody has looked at it yet.

    Args:
        tensors: the client's own model after training, by tensor name.
        num_examples: what the client claims to have trained on; any object, as a stranger sent it.
        difference: the tensors are that model minus the one it was sent.
    """

    tensors: Mapping[str, Any] = field(repr=False)
    num_examples: object
    difference: bool = False


class Hosted:
    """A federation whose clients another engine asks: gate, defence, privacy and journal in front of its model.

    Args:
        initial: the first global model's tensors, all float32, by name.
        defence: the walls.
        gate: the door.
        f: attackers to bear; a round in which the defence cannot is refused before anybody is asked.
        journal: the folder of the run; a run in it is resumed, and people's decisions are read from it. None keeps
            nothing on disk, and then only the watch decides about clients.
        seeds: for rules that draw; None takes fresh ones from the operating system.
        release: makes every step private, centrally.
        evaluate: the server's own measurements of a model, for the records.

    Guarantees:
        Those of `Federation`: a client's answer never ends a round, whatever it holds; what was committed survives.
        The models do not depend on the order of answers.

    Raises:
        Incompatible (RF103): a tensor that is not float32 (running statistics, counters: no rule aggregates them), or
            a journal of another model or defence.

    Does not protect against: the engine. Names, deadlines and who is asked are its word; and it reads every update.

    Cost: beside the defence, two copies and two SHA-256 of each update.
    """

    def __init__(
        self,
        initial: Tensors,
        defence: Defence,
        gate: Gate,
        *,
        f: int,
        journal: Path | None,
        seeds: Seeds | None = None,
        release: PrivateRelease | None = None,
        evaluate: Evaluate | None = None,
    ) -> None:
        self._model = _Given.of(initial)
        self._handed = _Handed()
        self._f = f
        self._journal = None if journal is None else Journal(journal)
        try:
            self._federation = Federation(
                exchange=self._handed,
                model=self._model,
                defence=defence,
                gate=gate,
                rounds=1,
                seeds=seeds or Seeds(int.from_bytes(SecureRandom().token(8), "big")),
                recipe=digest_of(canonical_json([defence.label, repr(gate), f, self._model.schema.digest])),
                journal=self._journal,
                evaluate=evaluate,
                release=release,
                decisions=None if journal is None or defence.watch is None else Decisions(journal).since,
            )
            self.state: State = self._federation.begin()
        except BaseException:
            self.close()
            raise

    @property
    def round(self) -> int:
        """Rounds that are committed."""
        return self.state.round

    @property
    def schema(self) -> Schema:
        """Names and shapes of the model's tensors."""
        return self._model.schema

    @property
    def tensors(self) -> dict[str, F32]:
        """The global model after the last committed round, as read-only views."""
        return self._model.schema.views(_frozen(self.state.params))

    def ask(self, clients: Iterable[ClientId]) -> tuple[ClientId, ...]:
        """Who of these is to be asked in the next round: everybody whom the watch, or a person, does not keep out.

        Raises:
            ToleranceExceeded (RF301): so few are there, those kept out included, that the defence cannot bear f.
        """
        self._handed.members_now = tuple(clients)
        require(self._federation.defence, len(self._handed.members_now), self._f)
        barred = self._federation.barred(self.state)
        return tuple(client for client in self._handed.members_now if client not in barred)

    def fuse(self, answers: Mapping[ClientId, Answer | Failure]) -> State:
        """One round: judge the answers, make the step, commit.

        Args:
            answers: what came back from those whom `ask` named; whoever is missing is absent.

        Returns:
            The state after the round; its `record` says what became of everybody.

        Raises:
            ToleranceExceeded (RF301), NothingAdmitted (RF604): no step is made; the model stays as it was.
        """
        broadcast = Broadcast(
            self.state.record.run, self.round + 1, _frozen(self.state.params), self.state.record.next_model
        )
        asked = self._handed.members()
        self._handed.replies = {c: self._reply(c, answers[c], broadcast) for c in asked if c in answers}
        self.state = self._federation.step(self.state)
        return self.state

    def _reply(self, client: ClientId, answer: Answer | Failure, to: Broadcast) -> Outcome:
        if isinstance(answer, Failure):
            return answer
        schema = self._model.schema
        try:
            delta = _flat(answer.tensors, schema)
            if not answer.difference:
                with np.errstate(invalid="ignore", over="ignore"):
                    delta -= to.params
            return Reply(client, encode_update(client, to, delta, _count(answer.num_examples), schema))
        except (MalformedUpdate, QuotaExceeded) as error:
            return Refusal(client, error.code, error.reason, error.message)

    def close(self) -> None:
        """Let go of the journal. Idempotent."""
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Hosted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handed:
    """An exchange in which everybody was asked already."""

    def __init__(self) -> None:
        self.members_now: tuple[ClientId, ...] = ()
        self.replies: Mapping[ClientId, Outcome] = {}

    def members(self) -> tuple[ClientId, ...]:
        """Whom the host engine would ask."""
        return self.members_now

    def exchange(
        self,
        stage: str,  # noqa: ARG002
        payloads: Mapping[ClientId, bytes],
        deadline_s: float | None,  # noqa: ARG002
    ) -> Mapping[ClientId, Outcome]:
        """What came back; each answer is handed over once."""
        replies, self.replies = self.replies, {}
        return {client: replies[client] for client in payloads if client in replies}

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class _Given:
    """A model that is trained elsewhere: its schema and first parameters, and nothing to train or ask."""

    schema: Schema
    params: F32 = field(repr=False)

    @classmethod
    def of(cls, tensors: Tensors) -> _Given:
        strange = sorted(name for name, tensor in tensors.items() if tensor.dtype != np.float32)
        if strange:
            raise Incompatible(
                f"tensors that are not float32: {', '.join(strange)}; running statistics and counters are clients' "
                "data that no rule aggregates: use a model without them (GroupNorm instead of BatchNorm)"
            )
        schema = Schema.of({name: tensor.shape for name, tensor in tensors.items()})
        params = _flat(tensors, schema)
        if not np.isfinite(params).all():
            raise Incompatible("the first global model holds NaN or infinity")
        return cls(schema, params)

    def initial(self, seeds: Seeds) -> F32:  # noqa: ARG002
        return self.params

    def train(self, *_: object) -> NoReturn:
        raise Incompatible("the host engine's clients train this model")

    logits = train


def _flat(tensors: Mapping[str, Any], schema: Schema) -> F32:
    """(d,) float32, a copy, of exactly these tensors.

    Raises:
        MalformedUpdate (RF201): other names, shapes or types; nothing is converted or broadcast.
    """
    wanted = dict(schema.tensors)
    if set(tensors) != set(wanted):
        missing = sorted(set(wanted) - set(tensors))
        raise MalformedUpdate(
            "keys", f"tensors missing: {missing or 'none'}, unknown: {len(set(tensors) - set(wanted))}"
        )
    flat = np.empty(schema.d, dtype=np.float32)
    for name, shape in schema.tensors:
        tensor = tensors[name]
        if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32:
            raise MalformedUpdate("dtype", f"{name} must be a float32 array")
        if tensor.shape != shape:
            raise MalformedUpdate("shape", f"{name} must be {shape}")
        flat[schema.slices[name]] = tensor.reshape(-1)
    return flat


def _count(claimed: object) -> int:
    """A whole number of examples; engines carry it as an int or a float.

    Raises:
        QuotaExceeded (RF205): neither.
    """
    if isinstance(claimed, bool) or not isinstance(claimed, int | float):
        raise QuotaExceeded("weight-cap", "claims a number of examples that is none")
    try:
        number = int(claimed)
    except (ValueError, OverflowError):  # NaN, infinity
        raise QuotaExceeded("weight-cap", "claims a number of examples that is none") from None
    if number != claimed or abs(number) >= 2**63:
        raise QuotaExceeded("weight-cap", "claims a number of examples that is not whole")
    return number


def _frozen(params: F32) -> F32:
    view = params.view()
    view.flags.writeable = False
    return view
