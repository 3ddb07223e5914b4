"""Attacks that try their factor out on the live defence before they send it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from ringfort.attacks.min_max import Direction, check_direction, push_of
from ringfort.attacks.threat import AttackerView, Control, Knowledge, ThreatModel, Untargeted
from ringfort.core.checks import whole
from ringfort.core.errors import ToleranceExceeded
from ringfort.core.values import F32, F64

__all__ = ["OptimisedALIE", "OptimisedIPM", "OptimisedMinMax", "OptimisedScaling", "along"]

_NEAREST: Final = 2.0**-4
_FURTHEST: Final = 2.0**8
"""The grid's ends, in honest deviations: from inside the honest spread to where only an undefended mean follows."""

_THREAT = ThreatModel(
    goal="Make the global model useless by the push that this very defence lets through.",
    knows=Knowledge.OWN_UPDATES | Knowledge.HONEST_UPDATES | Knowledge.DEFENCE,
    controls=Control.UPDATES,
    colludes=True,
)


@dataclass(frozen=True, slots=True)
class OptimisedALIE(Untargeted):
    """Optimised ALIE: untargeted model poisoning, the honest mean minus as many deviations as shift this defence most.

    Args:
        evaluations: how often it asks the live defence per round, 8 to 64.

    Threat: knows every honest update of the round and what the defence makes of a round; controls the updates the
        attackers send; colludes.

    Source: Baruch et al. 2019, arXiv:1902.06156, its factor searched as in Shejwalkar and Houmansadr 2021, NDSS,
        and Allouah et al. 2023, arXiv:2302.01772.
    """

    evaluations: int = 24
    name: ClassVar[str] = "optimised-alie"
    threat: ClassVar[ThreatModel] = _THREAT

    def __post_init__(self) -> None:
        whole(8, 64, evaluations=self.evaluations)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): k times the same update."""
        return along(view, push_of(view.honest_updates.astype(np.float64), "std"), self.evaluations)


@dataclass(frozen=True, slots=True)
class OptimisedIPM(Untargeted):
    """Optimised IPM: untargeted model poisoning, the honest mean, reversed as strongly as shifts this defence most.

    Args:
        evaluations: how often it asks the live defence per round, 8 to 64.

    Threat: knows every honest update of the round and what the defence makes of a round; controls the updates the
        attackers send; colludes.

    Source: Xie et al. 2020, UAI, arXiv:1903.03936, its factor searched as in Shejwalkar and Houmansadr 2021, NDSS,
        and Allouah et al. 2023, arXiv:2302.01772.
    """

    evaluations: int = 24
    name: ClassVar[str] = "optimised-ipm"
    threat: ClassVar[ThreatModel] = _THREAT

    def __post_init__(self) -> None:
        whole(8, 64, evaluations=self.evaluations)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): k times the same update."""
        return along(view, push_of(view.honest_updates.astype(np.float64), "unit"), self.evaluations)


@dataclass(frozen=True, slots=True)
class OptimisedMinMax(Untargeted):
    """Optimised Min-Max: untargeted model poisoning, tailored to the defence instead of to the honest distances.

    Args:
        direction: against the mean's "sign", the honest "std" per coordinate, or the mean's "unit" vector.
        evaluations: how often it asks the live defence per round, 8 to 64.

    Threat: knows every honest update of the round and what the defence makes of a round; controls the updates the
        attackers send; colludes.

    Source: Shejwalkar and Houmansadr 2021, NDSS (the attack that is tailored to a known rule).
    """

    direction: Direction = "sign"
    evaluations: int = 24
    name: ClassVar[str] = "optimised-min-max"
    threat: ClassVar[ThreatModel] = _THREAT

    def __post_init__(self) -> None:
        check_direction(self.direction)
        whole(8, 64, evaluations=self.evaluations)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): k times the same update."""
        return along(view, push_of(view.honest_updates.astype(np.float64), self.direction), self.evaluations)


@dataclass(frozen=True, slots=True)
class OptimisedScaling(Untargeted):
    """Optimised scaling: untargeted model poisoning, the attackers' own mean, boosted as far as this defence follows.

    Args:
        evaluations: how often it asks the live defence per round, 8 to 64.

    Threat: knows every honest update of the round and what the defence makes of a round; controls the updates the
        attackers send; colludes.

    Source: Bagdasaryan et al. 2020, AISTATS, arXiv:1807.00459, its factor searched as in Shejwalkar and
        Houmansadr 2021, NDSS.
    """

    evaluations: int = 24
    name: ClassVar[str] = "optimised-scaling"
    threat: ClassVar[ThreatModel] = _THREAT

    def __post_init__(self) -> None:
        whole(8, 64, evaluations=self.evaluations)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): k times the same update."""
        return along(view, view.own_updates.mean(axis=0, dtype=np.float64), self.evaluations)


def along(view: AttackerView, push: F64, evaluations: int, enough: float = math.inf) -> F32:
    """(k, d): the honest mean plus as much of the push as moves the defence's step furthest that way, or far enough.

    Beyond `enough`, as a distance of the step from the honest mean along the push, less is better.

    Distances are counted in honest deviations (the root of the mean squared distance from the honest mean), so that the
    search is the same at every scale. Without any direction to push in they send the mean.
    """
    honest = view.honest_updates
    mean = honest.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(push))
    if not length:
        return view.all_send(mean)
    push = push / length
    unit = float(np.linalg.norm(honest - mean)) / math.sqrt(len(honest)) or float(np.linalg.norm(mean)) or 1.0
    ask = view.oracle

    def shift(distance: float) -> float:
        crafted = view.all_send(mean + distance * unit * push)
        try:
            moved = float((ask(np.concatenate([honest, crafted])) - mean) @ push)
        except ToleranceExceeded:
            return -math.inf
        return moved if moved <= enough else 2 * enough - moved

    return view.all_send(mean + _best(shift, evaluations) * unit * push)


def _best(shift: Callable[[float], float], evaluations: int) -> float:
    """Where `shift` is largest: half of the tries on a geometric grid, the rest halve the wider gap beside the best.

    What a defence lets through may end abruptly (an update is chosen or it is not), so nothing is assumed of `shift`.
    """
    count = evaluations // 2
    ratio: float = (_FURTHEST / _NEAREST) ** (1 / (count - 1))
    tried = {distance: shift(distance) for distance in (_NEAREST * ratio**i for i in range(count))}
    while len(tried) < evaluations:
        order = sorted(tried)
        at = order.index(max(tried, key=tried.__getitem__))
        beside = order[max(at - 1, 0) : at] + order[at + 1 : at + 2]
        other = max(beside, key=lambda distance: abs(math.log(distance / order[at])))
        middle = math.sqrt(other * order[at])
        tried[middle] = shift(middle)
    return max(tried, key=tried.__getitem__)
