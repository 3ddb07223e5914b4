"""The admission gate: the one door between the network and the aggregate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ringfort.core.checks import positive, whole
from ringfort.core.errors import AdmissionError, MalformedUpdate, QuotaExceeded, Replay, UnknownClient
from ringfort.core.ports import Reply
from ringfort.core.tensors import Schema
from ringfort.core.values import F32, ClientId, Refusal, Update
from ringfort.core.wire import open_frame, verify_body

__all__ = ["Admitted", "Gate", "RoundPlan", "norm"]


def norm(vector: F32) -> float:
    """The L2 norm in float64, without overflow for any float32; inf or NaN if any coordinate is. One pass."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = float(np.einsum("i,i->", vector, vector, dtype=np.float64))
    return math.sqrt(total)


INNOCENT = frozenset({"not-finite", "norm-cap", "weight-cap", "wrong-run", "wrong-round", "wrong-model"})
"""Reasons for which honest clients can be refused as well: losses that diverge, caps set too low, late answers."""


EQUIVOCATION = "equivocation"
"""The reason of the one refusal by a transport that proves something about the client: two of its own signatures."""


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """What the server decides before it asks anybody.

    Args:
        run: the run's unpredictable name; a message for another run is a replay.
        round: from 1.
        cohort: who is asked.
        model: digest of the global model that is broadcast.
        schema: names and shapes that an update must have.
        deadline_s: seconds to answer; None waits.
    """

    run: str
    round: int
    cohort: tuple[ClientId, ...]
    model: str
    schema: Schema
    deadline_s: float | None


@dataclass(frozen=True, slots=True)
class Admitted:
    """The outcome at the gate: who came in, and who was turned away and why."""

    updates: tuple[Update, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """Refuses, one client at a time and with the reason, every message that may not touch the aggregate.

    Args:
        max_norm: hard cap on an update's L2 norm, > 0. No default: it bounds what one client can do to an unprotected
            mean. Set it well above honest norms; it is no substitute for clipping.
        max_examples: hard cap on the number of examples a client may claim, >= 1. No default.

    Guarantees:
        Never raises for hostile content. What comes in is a (d,) float32 view of the message, finite, of this run,
        round and model, from a member of the cohort, at most one per client. The first message of a client that passes
        stays; a later one is refused (a byte-identical repeat of it is a retry: ignored, not counted).
        Size and header are checked before anything is decoded; nothing is allocated in proportion to what a message
        claims.

    Does not protect against: anything well-formed. Poisoned updates of ordinary size pass; that is the walls' work.
        A name is a claim unless the transport vouches for it, as `engine.SignedExchange` does.

    Cost: one SHA-256 and one pass over each message.
    """

    max_norm: float
    max_examples: int

    def __post_init__(self) -> None:
        positive(max_norm=self.max_norm)
        whole(1, max_examples=self.max_examples)

    def admit(self, plan: RoundPlan, replies: Iterable[Reply]) -> Admitted:
        """Check every reply to `plan`, in the order given."""
        cohort = frozenset(plan.cohort)
        bodies: dict[ClientId, bytes | memoryview] = {}
        updates: list[Update] = []
        refusals: list[Refusal] = []
        for reply in replies:
            if reply.client in bodies and bodies[reply.client] == reply.body:
                continue
            try:
                update = self._check(plan, cohort, reply)
                if reply.client in bodies:
                    raise Replay("duplicate", "a second, different update for this round")
            except AdmissionError as error:
                refusals.append(Refusal(reply.client, error.code, error.reason, error.message))
                continue
            bodies[reply.client] = reply.body
            updates.append(update)
        return Admitted(tuple(updates), tuple(refusals))

    def _check(self, plan: RoundPlan, cohort: frozenset[ClientId], reply: Reply) -> Update:
        if reply.client not in cohort:
            raise UnknownClient("not-in-cohort", "was not asked in this round")
        header, body = open_frame(reply.body, "update", max_body_bytes=plan.schema.encoded_bytes)
        if header.client != reply.client:
            raise UnknownClient("wrong-client", "speaks for another client")
        if header.run != plan.run:
            raise Replay("wrong-run", "belongs to another run")
        if header.round != plan.round:
            raise Replay("wrong-round", f"belongs to round {header.round}, this is {plan.round}")
        if header.model != plan.model:
            raise Replay("wrong-model", "started from another model than the one broadcast")
        if not 1 <= header.num_examples <= self.max_examples:
            raise QuotaExceeded("weight-cap", f"claims {header.num_examples} examples, cap {self.max_examples}")
        delta = plan.schema.decode(body)
        verify_body(header, body)
        length = norm(delta)
        if not math.isfinite(length):
            raise MalformedUpdate("not-finite", "holds NaN or infinity")
        if length > self.max_norm:
            raise QuotaExceeded("norm-cap", f"has norm {length:.4g}, cap {self.max_norm:.4g}")
        return Update(reply.client, plan.round, delta, header.num_examples)
