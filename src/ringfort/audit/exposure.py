"""What protects a federation's clients from its servers, and what does not, in words for its report."""

from __future__ import annotations

from dataclasses import dataclass

from ringfort.core.docs import section
from ringfort.core.seal import Seal
from ringfort.privacy import Account, Claim, Unit

__all__ = ["Exposure", "exposure"]

_CLEAR = (
    "The server reads every update in the clear. Nothing here protects clients' data from a curious server (membership "
    "inference, property inference, reconstruction): no secure aggregation is in this run."
)
_NOISY = (
    "The server reads every update as it leaves the client. What limits a curious server is the noise alone, as far as "
    "it is claimed: no secure aggregation is in this run."
)
_ON_THE_CLIENT = ("local", "example")
_ONE_EXAMPLE = (
    "The unit of privacy is one example, not a client: that a client takes part, and what its examples have in common "
    "(its label counts, a disease that all of them share, one person with many examples), is not hidden."
)
_NO_NOISE = "No differential privacy is in this run: what the model tells about single clients is not bounded."


@dataclass(frozen=True, slots=True)
class Exposure:
    """Two lists of sentences.

    Args:
        protects: what the run had, with its claims.
        open: what it had not, and what its protections do not cover.
    """

    protects: tuple[str, ...]
    open: tuple[str, ...]


def exposure(seal: Seal | None, claim: Claim | None = None, accounts: tuple[Account, ...] = ()) -> Exposure:
    """The words are the seal's docstring's, the mechanism's claim and the ledgers'.

    Args:
        seal: None if updates came in the clear.
        claim: None without differential privacy.
        accounts: the run's ledger, or every client's own.
    """
    protects, left_open = [], []
    if seal is None and claim is not None and claim.mechanism in _ON_THE_CLIENT:
        left_open.append(_NOISY)
    elif seal is None:
        left_open.append(_CLEAR)
    else:
        protects.append(f"Updates came under the seal {seal.name!r}. {section(type(seal), 'Guarantees')}")
        left_open += [
            f"The seal does not protect against: {section(type(seal), 'Does not protect against')}",
            "All parties of the seal ran in one process: the protocol is real, the trust between them is simulated.",
        ]
    if claim is None:
        left_open.append(_NO_NOISE)
    else:
        protects.append(f"{claim.text} Against: {claim.against}. It trusts: {claim.trusts}.")
        protects += [_spent(accounts)] if accounts else []
        left_open += [_ONE_EXAMPLE] if claim.unit is Unit.EXAMPLE else []
    return Exposure(tuple(protects), tuple(left_open))


def _spent(accounts: tuple[Account, ...]) -> str:
    worst = max((account.worst() for account in accounts), key=lambda spend: spend.epsilon)
    budget = accounts[0].budget
    whose = "the run's ledger says" if len(accounts) == 1 else f"the worst of {len(accounts)} clients' ledgers says"
    return (
        f"Spent so far: epsilon {worst.epsilon:.4g} at delta {worst.delta:g}, of a budget of {budget.epsilon:g} "
        f"({whose}; {budget.neighbouring.value}, unit: one {budget.unit.value}, {worst.method})."
    )
