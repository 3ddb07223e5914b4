"""When to be hostile: attacks that wear another attack only in some rounds, or more and more of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import Attack, AttackerView
from ringfort.attacks.wrapper import Wrapper
from ringfort.core.checks import whole
from ringfort.core.errors import InvalidValue
from ringfort.core.values import F32

__all__ = ["Chained", "Ramp", "Redemption", "Sleeper", "Timed"]


class Timed(Wrapper):
    """For wrappers that say how much of the inner attack there is in a round."""

    __slots__ = ()

    def strength(self, number: int) -> float:
        """In [0, 1], for the round of this number: 0 trains as told, 1 is the inner attack."""
        raise NotImplementedError

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:
        """(k, d): what they learned by training as told, the inner attack's updates, or a mixture of both."""
        strength = self.strength(view.round)
        if strength == 0:
            return view.own_updates.copy()
        hostile = self.sent_within(view, rng)
        if strength == 1:
            return hostile
        mixed: F32 = view.own_updates + np.float32(strength) * (hostile - view.own_updates)
        return mixed


@dataclass(frozen=True, slots=True)
class Sleeper(Timed):
    """Sleeper: honest, and earning trust, up to a round; from then on another attack.

    Args:
        inner: the attack that sleeps.
        wakes: the first hostile round, >= 2.

    Threat: what the inner attack assumes; also knows what its clients learn by training as told, and controls the
        updates they send.

    Source: reputation attacks, as in Hoffman et al. 2009, ACM Computing Surveys 42(1) (self-promoting, then attacking).
    """

    inner: Attack
    wakes: int
    word: ClassVar[str] = "sleeper"

    def __post_init__(self) -> None:
        whole(2, wakes=self.wakes)

    def strength(self, number: int) -> float:
        """1 from the round on in which they wake."""
        return float(number >= self.wakes)


@dataclass(frozen=True, slots=True)
class Chained(Timed):
    """Chained: another attack from one round to another, honest before and afterwards; shows how long its effect lasts.

    Args:
        inner: the attack.
        start: the first hostile round, >= 1.
        stop: the last one, >= start; the same makes it a single shot.

    Threat: what the inner attack assumes; also knows what its clients learn by training as told, and controls the
        updates they send.

    Source: Zhang et al. 2022, ICML, arXiv:2206.10341 (durability: fixed-frequency attackers who leave).
    """

    inner: Attack
    start: int
    stop: int
    word: ClassVar[str] = "chained"

    def __post_init__(self) -> None:
        whole(1, start=self.start, stop=self.stop)
        if self.stop < self.start:
            raise InvalidValue(f"stop must not lie before start, got {self.start} and {self.stop}")

    @property
    def stops(self) -> int:
        """The last hostile round."""
        return self.stop

    def strength(self, number: int) -> float:
        """1 from start to stop."""
        return float(self.start <= number <= self.stop)


@dataclass(frozen=True, slots=True)
class Ramp(Timed):
    """Ramp: another attack that grows by the same small amount every round, so that no round stands out.

    Args:
        inner: the attack.
        rounds: how many until it has its full strength, >= 2.
        start: the first hostile round, >= 1.

    Threat: what the inner attack assumes; also knows what its clients learn by training as told, and controls the
        updates they send.

    Source: drifting ("boiling frog") attacks as in Rubinstein et al. 2009, ACM IMC (ANTIDOTE).
    """

    inner: Attack
    rounds: int
    start: int = 1
    word: ClassVar[str] = "ramp"

    def __post_init__(self) -> None:
        whole(2, rounds=self.rounds)
        whole(1, start=self.start)

    def strength(self, number: int) -> float:
        """From 1/rounds in the first hostile round to 1."""
        return min(max(number - self.start + 1, 0) / self.rounds, 1.0)


@dataclass(frozen=True, slots=True)
class Redemption(Timed):
    """Redemption abuse: another attack for some rounds, honest for some more to earn the trust back, and so on.

    Args:
        inner: the attack.
        bad: hostile rounds in a row, >= 1.
        good: honest rounds in a row, >= 1.
        start: the first hostile round, >= 1.

    Threat: what the inner attack assumes; also knows what its clients learn by training as told, and controls the
        updates they send.

    Source: on-off attacks as in Sun, Han, Yu and Liu 2006, IEEE INFOCOM (trust evaluation in distributed networks).
    """

    inner: Attack
    bad: int
    good: int
    start: int = 1
    word: ClassVar[str] = "redemption"

    def __post_init__(self) -> None:
        whole(1, bad=self.bad, good=self.good, start=self.start)

    def strength(self, number: int) -> float:
        """1 in the first `bad` rounds of every cycle."""
        return float(number >= self.start and (number - self.start) % (self.bad + self.good) < self.bad)
