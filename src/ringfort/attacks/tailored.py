"""Send the backdoor as strongly as this very defence lets it through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.optimised import along
from ringfort.attacks.threat import Attack, AttackerView, Knowledge
from ringfort.attacks.wrapper import Wrapper
from ringfort.core.checks import whole
from ringfort.core.values import F32

__all__ = ["Tailored"]


@dataclass(frozen=True, slots=True)
class Tailored(Wrapper):
    """Tailored to the defence: the way from the honest mean to another attack's update, as far as this defence follows.

    All attackers send the same update: the honest mean plus as much of that way as takes the defence's step furthest
    along it, but not beyond the goal: a backdoor is to stay hidden.

    Args:
        inner: the attack whose mean update is the goal.
        evaluations: how often it asks the live defence per round, 8 to 64.

    Threat: what the inner attack assumes; also knows every honest update of the round and what the defence makes of a
        round, and controls the updates the attackers send. An upper bound: few attackers know that much.

    Source: Shejwalkar and Houmansadr 2021, NDSS (tailored to a known rule), its direction a backdoor's; Fang et al.
        2020, USENIX Security, arXiv:1911.11815 (full knowledge).
    """

    inner: Attack
    evaluations: int = 16
    word: ClassVar[str] = "tailored"
    reads: ClassVar[Knowledge] = (
        Knowledge.OWN_DATA | Knowledge.OWN_UPDATES | Knowledge.HONEST_UPDATES | Knowledge.DEFENCE
    )

    def __post_init__(self) -> None:
        whole(8, 64, evaluations=self.evaluations)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:
        """(k, d): k times the same update."""
        goal = self.sent_within(view, rng).mean(axis=0, dtype=np.float64)
        way = goal - view.honest_updates.mean(axis=0, dtype=np.float64)
        return along(view, way, self.evaluations, enough=float(np.linalg.norm(way)))
