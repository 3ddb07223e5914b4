"""Evidence from a client's own past: a conformal test martingale that bets against "nothing has changed"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ringfort.core.checks import at_least, fraction, positive, whole
from ringfort.core.context import Memory, RoundContext
from ringfort.core.values import F64, ClientId, Evidence
from ringfort.detect._cohort import uniforms
from ringfort.detect._past import changed, known, own
from ringfort.detect.detector import Inspection, Promise, Score
from ringfort.detect.table import Table

__all__ = ["OwnPast", "conformal", "stakes"]

V = TypeVar("V")

_POWERS: Final = np.array([0.15, 0.3, 0.5])
_MOST = 1e250
_NOTE = "capital won by betting that its scores grew; assumes that an honest client's scores drift little over time"


@dataclass(frozen=True, slots=True)
class OwnPast(Generic[V]):
    """Compare each client with its own past: has it begun to look stranger than it used to?

    Args:
        score: what is compared; of it, the robust z-score in the cohort, so that what moves all clients alike plays no
            part.
        drift: at least 1: how much honest clients may drift. Given its past, an honest client's chance of being among
            the share x of the strangest of its own rounds is at most drift * x. 1 is exact exchangeability, which
            training from scratch breaks; docs/detection.md measures 2. No default: the promise rests on it.
        span: rounds of a client's past that are kept, 8 to 512; then the past begins anew and the capital stays.
            Long spans find more, and honest clients drift further in them.
        least: rounds of its past before anything is staked on a client.
        jump: in (0, 1): the share of the capital that is dealt out anew in each round; large finds a change sooner.

    Call:
        view: what the score needs. Observed: the capital; 1 is what an honest client keeps on average.

    Guarantees:
        Theorem, for scores that do not remember: for an honest client that drifts by no more than `drift`, the capital
        is a supermartingale that starts at 1, so by Ville's inequality it ever reaches 1/alpha with a chance of at most
        alpha. The p-value given is 1 / (the largest capital so far): it never rises again.
        A client whose scores are exchangeable over the rounds in which it takes part drifts by 1: its conformal
        p-values are then independent and uniform (ties are broken at random; ranks within disjoint spans are
        independent).
        Keeps 4 * span + 108 bytes per client.

    Does not protect against: a client that is hostile from its first round, or before `least` rounds of each span;
        changes slower than its past forgets; scores on which the attack does not show. That honest clients drift little
        is an assumption: where a client's data or role changes it does not hold, and docs/detection.md shows how far
        it holds in training. Ties are broken by the simulation's seeds, which insiders can foresee: only who
        ties with his own past gains by it.

    Cost: that of the score, span comparisons per client, and a copy of the table.

    Source: Vovk, Nouretdinov and Gammerman 2003 (martingales); Vovk et al. 2021, arXiv:2102.10439 (the simple jumper,
        here with power bets); Ville 1939.
    """

    score: Score[V]
    drift: float
    span: int = 64
    least: int = 5
    jump: float = 0.01

    def __post_init__(self) -> None:
        at_least(1, drift=self.drift)
        whole(8, 512, span=self.span)
        whole(1, self.span - 1, least=self.least)
        fraction(jump=self.jump)
        positive(jump=self.jump, rest=1 - self.jump)

    @property
    def promise(self) -> Promise:
        """The theorem; nothing if the score itself remembers, for then it is not exchangeable over rounds."""
        return Promise.NONE if self.score.remembers else Promise.THEOREM

    @property
    def name(self) -> str:
        """The score's name, and "past"."""
        return f"{self.score.name}-past"

    def inspect(self, view: V, context: RoundContext) -> Inspection:
        """Evidence about the round."""
        here = known(self.score, view, context, self._blank)
        clients, rows, now = here.clients, here.rows, here.z.astype(np.float32)
        p_values = conformal(
            now, rows["past"], rows["count"], uniforms(context.seeds.child("ties", self.name), clients)
        )
        betting = rows["count"] >= self.least
        rows["capital"][betting] = stakes(rows["capital"][betting], p_values[betting], self.jump, self.drift)
        total = rows["capital"].sum(axis=1)
        rows["peak"] = np.maximum(rows["peak"], total)
        rows["past"][np.arange(len(clients)), rows["count"]] = now
        rows["count"] = (rows["count"] + 1) % self.span
        evidence = tuple(
            Evidence(client, self.name, "capital against its own past", float(one), 1.0, float(1 / peak), _NOTE)
            for client, one, peak in zip(clients, total, rows["peak"], strict=True)
        )
        return Inspection(evidence, here.memory())

    def anew(self, memory: Memory, clients: tuple[ClientId, ...]) -> Memory:
        """The capital of these clients is 1 again; their past is kept."""
        table = own(memory, self._blank)
        fresh = Table.read({}, {name: table.blank[name] for name in ("capital", "peak")}).rows(clients)
        return changed(memory, table, clients, {**table.rows(clients), **fresh})

    @property
    def _blank(self) -> dict[str, NDArray[Any]]:
        bets = len(_POWERS) + 1
        return {
            "past": np.zeros(self.span, dtype=np.float32),
            "count": np.array(0, dtype=np.int32),
            "capital": np.full(bets, 1 / bets),
            "peak": np.array(1.0),
        }


def conformal(now: NDArray[Any], past: NDArray[Any], count: NDArray[Any], ties: F64) -> F64:
    """(n,) how often the past (n, span), filled up to `count`, was larger; ties are split by a uniform number."""
    filled = np.arange(past.shape[1]) < count[:, None]
    larger = ((past > now[:, None]) & filled).sum(axis=1)
    equal = ((past == now[:, None]) & filled).sum(axis=1)
    p_values: F64 = (larger + ties * (1 + equal)) / (count + 1)
    return p_values


def stakes(capital: F64, p_values: F64, jump: float, drift: float) -> F64:
    """(n, bets) after one round: a share is dealt out anew, then bets pay k (drift p)^(k-1); the last keeps its money.

    If P(p <= x) <= drift x, then drift p is no smaller, in law, than a uniform number, of which k u^(k-1) is 1 on
    average. So no bet gains on average, and the sum is a supermartingale. It stops growing at 1e250.
    """
    dealt: F64 = (1 - jump) * capital + jump * capital.mean(axis=1, keepdims=True)
    pays = _POWERS * (drift * p_values[:, None]) ** (_POWERS - 1)
    dealt[:, :-1] *= pays
    np.minimum(dealt, _MOST, out=dealt)
    return dealt
