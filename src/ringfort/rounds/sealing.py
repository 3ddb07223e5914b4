"""The server's side of a sealed round: it drives the seal's phases over an exchange and opens what they reveal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ringfort.core.context import wants
from ringfort.core.errors import Incompatible
from ringfort.core.ports import Exchange, Failure, Reply, Rule
from ringfort.core.seal import Opened, Seal, SealedRound, ServerSeal
from ringfort.core.values import ClientId, Refusal
from ringfort.rounds.fuse import SIGHTS, needs
from ringfort.rounds.gate import RoundPlan

__all__ = ["ServerSide", "require_sight"]

_SEES = {
    "total": "only the sum of all updates",
    "gram": "inner products between updates and one weighted sum",
    "rows": "every row",
}


@dataclass(frozen=True)
class ServerSide:
    """A seal as the server runs it.

    Args:
        seal: its public parameters.
        server: the coordinator's half.
    """

    seal: Seal
    server: ServerSeal

    @property
    def label(self) -> str:
        """The seal with its parameters, for the record."""
        given: list[str] = [f"{f.name}={getattr(self.seal, f.name)!r}" for f in fields(self.seal)]  # type: ignore[arg-type]
        return f"{type(self.seal).__name__}({', '.join(given)})"

    def round(
        self, plan: RoundPlan, frame: bytes, exchange: Exchange, rule: Rule[Any]
    ) -> tuple[Opened, tuple[Failure, ...]]:
        """Broadcast, let the clients train and say hello, and seal among those who did.

        Returns:
            What was opened, with the transport's refusals among its own, and the failures of clients at any stage
            (the first of each).

        Raises:
            ProtocolAbort (RF5xx): nothing was revealed.
        """
        failures: dict[ClientId, Failure] = {}
        refused: dict[ClientId, Refusal] = {}

        def ask(stage: str, payloads: Mapping[ClientId, bytes]) -> dict[ClientId, bytes]:
            replies = exchange.exchange(stage, payloads, plan.deadline_s)
            for client, reply in replies.items():
                if isinstance(reply, Failure):
                    failures.setdefault(client, reply)
                if isinstance(reply, Refusal):
                    refused.setdefault(client, reply)
            bodies = {client: reply.body for client, reply in replies.items() if isinstance(reply, Reply)}
            return {client: bytes(body) if isinstance(body, memoryview) else body for client, body in bodies.items()}

        hellos = ask("train", dict.fromkeys(plan.cohort, frame))
        at = self.server.begin(SealedRound(plan.run, plan.round, plan.model, plan.schema.d), hellos, rule)
        while not isinstance(at, Opened):
            at = at.on_replies(ask(at.ask.stage, at.ask.payloads))
        return replace(at, refusals=(*refused.values(), *at.refusals)), tuple(failures.values())


def require_sight(rule: Rule[Any], seal: Seal) -> None:
    """Refuse, before the first round, a rule that cannot see through a seal.

    Raises:
        Incompatible (RF103): with the reason and the ways out.
    """
    wanted, shown = needs(rule), seal.shows
    more = wants(rule)
    if more and seal.helpers() and shown == "gram":
        raise Incompatible(
            f"under the {seal.name!r} seal every server runs the rule by itself, on inner products alone; "
            f"{rule.name!r} also needs {' and '.join(sorted(more))}: "
            "use a rule and mixings that need nothing else, or another seal"
        )
    if SIGHTS.index(wanted) <= SIGHTS.index(shown):
        return
    ways = {
        "total": "use the `grouped` seal (rules over group means), the `shared` seal (rules on inner products), or the "
        "plain mean",
        "gram": "use a rule on inner products (multi-krum, geometric-median, centered-clipping, caf, nnm before one of "
        "them), or the `grouped` seal",
        "rows": "",
    }
    raise Incompatible(
        f"the rule {rule.name!r} needs to see {_SEES[wanted]}, and the {seal.name!r} seal shows the server "
        f"{_SEES[shown]}: {ways[shown]}"
    )
