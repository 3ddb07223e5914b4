"""Mimic: vote for one honest client many times over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import AttackerView, Control, Knowledge, ThreatModel, Untargeted
from ringfort.core.checks import whole
from ringfort.core.values import F32

__all__ = ["Mimic"]


@dataclass(frozen=True, slots=True)
class Mimic(Untargeted):
    """Mimic: untargeted model poisoning, all attackers copy one honest client, so that the others' data count for less.

    Args:
        victim: which honest client, in the order of names, >= 0; counted round if there are fewer.

    Threat: knows every honest update of the round; controls the updates the attackers send; colludes. Every update
        sent is an honest one, so no test of a single update can find it.

    Source: Karimireddy et al. 2022, arXiv:2006.09365, with a fixed victim.
    """

    victim: int = 0
    name: ClassVar[str] = "mimic"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make the model serve one client's data at the cost of everyone else's.",
        knows=Knowledge.OWN_UPDATES | Knowledge.HONEST_UPDATES,
        controls=Control.UPDATES,
        colludes=True,
    )

    def __post_init__(self) -> None:
        whole(0, victim=self.victim)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): k copies of the victim's update."""
        honest = view.honest_updates
        return view.all_send(honest[self.victim % len(honest)])
