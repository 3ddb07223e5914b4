"""Evidence from a client's own past: running mean and cumulative sum, the control charts of industry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

import numpy as np

from ringfort.core.checks import fraction, positive, whole
from ringfort.core.context import Memory, RoundContext
from ringfort.core.values import ClientId, Evidence
from ringfort.detect._past import changed, known, own
from ringfort.detect.detector import Inspection, Promise, Score

__all__ = ["Drift"]

V = TypeVar("V")

_FAR = 30.0
_BLANK: Final = {
    **dict.fromkeys(("mean", "variance", "sum"), np.array(0.0)),
    **dict.fromkeys(("count", "last"), np.array(0, dtype=np.int64)),
}
_NOTE = "exp(-2 slack sum): assumes independent normal scores around a known mean; the mean is estimated"


@dataclass(frozen=True, slots=True)
class Drift(Generic[V]):
    """Add up what a client's score exceeds its own running mean by (CUSUM over an EWMA).

    Args:
        score: what is compared; of it, the robust z-score in the cohort.
        rate: in (0, 1]: the share of the newest round in mean and variance.
        slack: > 0: standard deviations that are forgiven in each round.
        least: rounds of a client's past before anything is added up.

    Call:
        view: what the score needs. Observed: the cumulative sum, in standard deviations.

    Guarantees:
        None in numbers: the p-value is Lundberg's bound for normal scores with known mean and variance, in one round.

    Does not protect against: attackers from the first round, ramps slower than the running mean, scores on which the
        attack does not show.

    Cost: that of the score, O(1) per client; 92 bytes kept per client.

    Source: Page 1954 (CUSUM, slack 0.5, alarm at 5); Roberts 1959 (EWMA, rate 0.2). After a gap of g rounds the
        variance is taken g^(1/2) times as large.
    """

    score: Score[V]
    rate: float = 0.2
    slack: float = 0.5
    least: int = 5
    promise: ClassVar[Promise] = Promise.NONE

    def __post_init__(self) -> None:
        fraction(rate=self.rate)
        positive(rate=self.rate, slack=self.slack)
        whole(2, least=self.least)

    @property
    def name(self) -> str:
        """The score's name, and "drift"."""
        return f"{self.score.name}-drift"

    def inspect(self, view: V, context: RoundContext) -> Inspection:
        """Evidence about the round."""
        here = known(self.score, view, context, _BLANK)
        clients, rows, now = here.clients, here.rows, here.z
        away = now - rows["mean"]
        spread = np.sqrt(rows["variance"] * np.sqrt(np.maximum(context.round - rows["last"], 1)))
        steps = np.clip(np.divide(away, spread, out=np.sign(away) * _FAR, where=spread > 0), -_FAR, _FAR)
        betting = rows["count"] >= self.least
        rows["sum"] = np.where(betting, np.maximum(0, rows["sum"] + steps - self.slack), 0.0)
        rate = np.maximum(self.rate, 1 / (rows["count"] + 1))
        rows["mean"] = rows["mean"] + rate * away
        rows["variance"] = (1 - rate) * (rows["variance"] + rate * away**2)
        rows["count"], rows["last"] = rows["count"] + 1, np.full(len(clients), context.round, dtype=np.int64)
        p_values = np.exp(-np.minimum(2 * self.slack * rows["sum"], 600))
        expected = 1 / (2 * self.slack)
        evidence = tuple(
            Evidence(client, self.name, "cumulative drift from its own mean", float(total), expected, float(p), _NOTE)
            for client, total, p in zip(clients, rows["sum"], p_values, strict=True)
        )
        return Inspection(evidence, here.memory())

    def anew(self, memory: Memory, clients: tuple[ClientId, ...]) -> Memory:
        """The sums of these clients are 0 again; mean and variance are kept."""
        table = own(memory, _BLANK)
        return changed(memory, table, clients, {**table.rows(clients), "sum": np.zeros(len(clients))})
