"""Evidence from pilots: has this client's way so far been stranger than honest clients' ways in pilot federations?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ringfort.core.checks import whole
from ringfort.core.context import EMPTY, Memory, RoundContext
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.values import F64, ClientId, Evidence
from ringfort.detect._past import changed, known, own
from ringfort.detect.detector import Inspection, Promise, Score
from ringfort.detect.table import Table

__all__ = ["Calibrated", "Calibration"]

V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class Calibration:
    """How strange honest clients of pilot federations looked at their worst.

    Args:
        score: the name of the score that was measured.
        window: rounds over which a client's robust z-scores are averaged.
        horizon: rounds of the shortest pilot.
        peaks: (m,) each honest pilot client's largest such average.

    Raises:
        InvalidValue (RF104): no peaks, or one that is not finite.
    """

    score: str
    window: int
    horizon: int
    peaks: F64 = field(repr=False)

    def __post_init__(self) -> None:
        whole(1, window=self.window)
        whole(self.window, horizon=self.horizon)
        if self.peaks.ndim != 1 or not self.peaks.size or not np.isfinite(self.peaks).all():
            raise InvalidValue(f"a calibration needs finite peaks of pilot clients, got {self.peaks.shape}")
        ordered = np.sort(self.peaks)
        ordered.flags.writeable = False
        object.__setattr__(self, "peaks", ordered)

    @classmethod
    def of(cls, score: Score[V], window: int, pilots: Iterable[Iterable[tuple[V, RoundContext]]]) -> Calibration:
        """Measure all-honest pilot federations, each given as its rounds in order.

        Raises:
            InvalidValue (RF104): no pilot, or one in which nobody took part in `window` rounds.
        """
        peaks: list[F64] = []
        horizons: list[int] = []
        for rounds in pilots:
            memory: Memory = EMPTY
            number = 0
            for number, (view, context) in enumerate(rounds, 1):  # noqa: B007 - the last number is the pilot's length
                memory = _walk(score, window, view, replace(context, memory=memory))[0]
            table = own(memory, _blank(window))
            everybody = table.rows(table.clients)
            peaks.append(everybody["peak"][everybody["count"] >= window])
            horizons.append(number)
        if not peaks:
            raise InvalidValue("a calibration needs at least one pilot federation, got none")
        return cls(score.name, window, min(horizons), np.concatenate(peaks))

    def p_values(self, peaks: F64) -> F64:
        """(n,) (1 + pilots at least as strange) / (m + 1)."""
        m = len(self.peaks)
        found: F64 = (1 + m - np.searchsorted(self.peaks, peaks, side="left")) / (m + 1)
        return found

    def resolves(self, alpha: float) -> bool:
        """Whether there are enough pilot clients for a p-value of alpha: 99 for 1 %."""
        return 1 / (len(self.peaks) + 1) <= alpha


@dataclass(frozen=True, slots=True)
class Calibrated(Generic[V]):
    """Compare each client's worst stretch so far with that of honest clients in pilot federations.

    Args:
        score: what is compared; of it, the robust z-score in the cohort.
        calibration: of the same score.

    Call:
        view: what the score needs. Observed: the largest average over the window so far.

    Guarantees:
        If an honest client and the pilot clients are exchangeable, its p-value ever falls to alpha with a chance of at
        most alpha, over at most `calibration.horizon` rounds: its peak only grows, and its last value is a conformal
        p-value. Exact with one client from each pilot; with all clients of few pilots only on average over pilots.
        Keeps 4 * window + 76 bytes per client.

    Raises:
        InvalidValue (RF104): the calibration is of another score.
        Incompatible (RF103): the federation runs for longer than the pilots did.

    Does not protect against: attacks that look no stranger than honest clients with rare data do; a federation that is
        not like its pilots (other data, other splits, other training): then it promises nothing.

    Cost: that of the score, O(window) per client.

    Source: conformal p-values of trajectories.
    """

    score: Score[V]
    calibration: Calibration
    promise: ClassVar[Promise] = Promise.CALIBRATED

    def __post_init__(self) -> None:
        if self.calibration.score != self.score.name:
            raise InvalidValue(f"the calibration is of {self.calibration.score!r}, the score is {self.score.name!r}")

    @property
    def name(self) -> str:
        """The score's name, and "pilots"."""
        return f"{self.score.name}-pilots"

    def inspect(self, view: V, context: RoundContext) -> Inspection:
        """Evidence about the round."""
        if context.round > self.calibration.horizon:
            raise Incompatible(
                f"{self.name} was calibrated on pilots of {self.calibration.horizon} rounds, "
                f"this is round {context.round}: calibrate on longer pilots"
            )
        memory, clients, peaks = _walk(self.score, self.calibration.window, view, context)
        note = f"against {len(self.calibration.peaks)} honest pilot clients; assumes a federation like theirs"
        middle = float(np.median(self.calibration.peaks))
        evidence = tuple(
            Evidence(client, self.name, "strangest stretch so far", float(max(peak, -1e300)), middle, float(p), note)
            for client, peak, p in zip(clients, peaks, self.calibration.p_values(peaks), strict=True)
        )
        return Inspection(evidence, memory)

    def anew(self, memory: Memory, clients: tuple[ClientId, ...]) -> Memory:
        """These clients' ways begin anew."""
        table = own(memory, _blank(self.calibration.window))
        return changed(memory, table, clients, Table.read({}, table.blank).rows(clients))


def _blank(window: int) -> dict[str, NDArray[Any]]:
    return {
        "last": np.zeros(window, dtype=np.float32),
        "count": np.array(0, dtype=np.int32),
        "peak": np.array(-np.inf),
    }


def _walk(score: Score[Any], window: int, view: Any, context: RoundContext) -> tuple[Memory, tuple[ClientId, ...], F64]:
    """One round: the memory after it, who was measured, and their peaks; -inf before `window` rounds."""
    here = known(score, view, context, _blank(window))
    rows = here.rows
    rows["last"][np.arange(len(here.clients)), rows["count"] % window] = here.z
    rows["count"] = rows["count"] + 1
    means = rows["last"].mean(axis=1, dtype=np.float64)
    rows["peak"] = np.where(rows["count"] >= window, np.maximum(rows["peak"], means), rows["peak"])
    return here.memory(), here.clients, rows["peak"]
