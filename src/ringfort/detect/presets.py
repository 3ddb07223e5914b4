"""Scores by name, and watches that are ready to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ringfort.core.errors import UnknownName
from ringfort.detect.coordinates import SignAgreement
from ringfort.detect.detector import Score
from ringfort.detect.directions import CosineToCentre, Spectral
from ringfort.detect.in_cohort import InCohort
from ringfort.detect.neighbours import Likeness, Neighbours, Twins
from ringfort.detect.norms import Norm, NormHugging
from ringfort.detect.own_past import OwnPast
from ringfort.detect.policy import Policy
from ringfort.detect.predicted import Predicted
from ringfort.detect.together import Together
from ringfort.detect.watch import Watch

__all__ = ["SCORES", "recommended", "score"]

_PLAIN: Final[tuple[type[Any], ...]] = (
    *(Norm, NormHugging, CosineToCentre, Spectral, Neighbours, Likeness, Twins),
    *(SignAgreement, Predicted),
)
SCORES: Final[dict[str, type[Any]]] = {kind.name: kind for kind in _PLAIN}
"""Those that need to know nothing about the model."""


def score(names: Sequence[str]) -> Score[Any]:
    """The score of this name; of several names their sum, as `Together` takes it.

    Raises:
        UnknownName (RF101): not one of `SCORES`. InvalidValue (RF104): none, or one twice.

    >>> score(["norm"]).name, score(["norm", "cosine"]).name
    ('norm', 'together')
    """
    for name in names:
        if name not in SCORES:
            raise UnknownName.of("score", name, SCORES)
    made = tuple(SCORES[name]() for name in names)
    return made[0] if len(made) == 1 else Together(made)


def recommended(alpha: float) -> Watch:
    """The recommended watch: length, direction, distance and the main disagreement, against past and cohort.

    `OwnPast(Together(norm, cosine, neighbours, spectral), drift=2)` may quarantine, and `InCohort` of the same score
    moves the reputations. It needs inner products only, which it shares with the rule.

    Args:
        alpha: the share of honest clients that may ever be quarantined, if they drift by no more than 2. No default.

    Does not protect against: who is hostile from the first round; updates shaped to look ordinary in all four. "No
    flag" is not "no attacker".
    """
    strange = score(("norm", "cosine", "neighbours", "spectral"))
    return Watch((OwnPast(strange, drift=2.0), InCohort(strange)), Policy(alpha=alpha, reputation=strange.name))
