"""Central differential privacy in a round: charged to the ledger, then released; nothing leaves without a receipt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from ringfort.core.errors import Incompatible
from ringfort.core.failpoints import failpoint
from ringfort.core.randomness import SecureRandom
from ringfort.core.values import F32
from ringfort.core.views import Rows
from ringfort.privacy import AdaptiveClip, CentralNoise, FixedCohort, Ledger, NoClaim, claim_for

__all__ = ["TARIFF", "PrivateRelease"]

TARIFF: Final = "update"
"""The name of the one event in the ledger of a federation."""


@dataclass(frozen=True)
class PrivateRelease:
    """How the server makes every step of a federation private.

    Args:
        mechanism: clips, adds noise, divides; one that adapts its clip follows the record of the last round.
        ledger: of the run, with the mechanism's event under the name `TARIFF`.
        random: the operating system's; tests give another, and every record says so.

    Raises:
        Incompatible (RF103): the mechanism promises nothing behind this rule.
    """

    mechanism: CentralNoise
    ledger: Ledger = field(repr=False)
    random: SecureRandom = field(default_factory=SecureRandom, repr=False)

    def require(self, rule: str) -> None:
        """Refuse a rule after which the noise would promise nothing, before anything runs."""
        claim = claim_for(self.mechanism, rule, "rows", 1)
        if isinstance(claim, NoClaim):
            raise Incompatible(f"central noise promises nothing here: {claim.reason}")

    def require_population(self, members: int) -> None:
        """Refuse to draw from fewer clients than the accountant counts on: each would take part more often.

        Raises:
            Incompatible (RF103): a fixed cohort, and some of the population cannot be asked.
        """
        sampling = self.mechanism.sampling
        if isinstance(sampling, FixedCohort) and members < sampling.of:
            raise Incompatible(
                f"the ledger counts on cohorts of {sampling.size} out of {sampling.of} clients, and {members} can be "
                "asked, so each would take part more often: bring the others back, draw with train.rate instead, or "
                "begin a new run with those who are left"
            )

    def step(self, view: Rows | None, d: int, number: int, last: dict[str, Any]) -> tuple[F32, dict[str, Any]]:
        """Charge, then release.

        Args:
            view: the cohort's updates; None if nobody came.
            d: parameters.
            number: the round.
            last: what was returned for the record of the round before; empty in the first.

        Returns:
            The private step, and what the record says about it.

        Raises:
            BudgetExceeded (RF401): nothing was released.
        """
        mechanism = self.mechanism
        if last and isinstance(mechanism.clip, AdaptiveClip):
            mechanism = replace(mechanism, clip=replace(mechanism.clip, norm=last["next_norm"]))
        receipt = self.ledger.charge(number, {TARIFF: 1}, None)
        failpoint("round.charged")
        released = mechanism.release(view, d, receipt, self.random)
        spent = self.ledger.worst()
        return released.delta, {
            "claim": mechanism.claim.to_json(),
            "release": released.release.to_json(),
            "next_norm": released.next.clip.norm,
            "spent": spent.to_json(),
            "budget": self.ledger.budget.to_json(),
        }
