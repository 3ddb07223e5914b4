"""A watch that accuses whom it is told to, so that tests say who is found and when."""

from dataclasses import dataclass, field

import numpy as np

from ringfort.core.values import Evidence
from ringfort.detect import Inspection, Norm, Policy, Promise, Watch


@dataclass(frozen=True)
class Accuser:
    """p = 1e-9 about `accused` from round `since` to `until`; it remembers how many rounds it has seen."""

    accused: tuple = ()
    since: int = 1
    until: int = 10**9
    score: Norm = field(default_factory=Norm)
    name = "accuser"
    promise = Promise.THEOREM

    def inspect(self, view, context):
        seen = int(context.memory["seen"][0]) if "seen" in context.memory else 0
        guilty = self.accused if self.since <= context.round <= self.until else ()
        evidence = tuple(
            Evidence(c, self.name, "guilt", 1.0 * (c in guilty), 0.0, 1e-9 if c in guilty else 1.0)
            for c in view.clients
        )
        return Inspection(evidence, {"seen": np.array([seen + 1])})

    def anew(self, memory, clients):
        return memory


def watch(*accused, since=1, until=10**9, **policy):
    return Watch((Accuser(accused, since, until),), Policy(alpha=0.01, reputation="accuser", **policy))
