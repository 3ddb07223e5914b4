"""Example-level differential privacy on a client: DP-SGD with Poisson minibatches. Protects records, not clients."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Final

import numpy as np

from ringfort.core.checks import positive, whole
from ringfort.core.errors import BudgetExceeded, Incompatible, InvalidValue
from ringfort.core.randomness import SecureRandom
from ringfort.core.values import F32, I64
from ringfort.privacy.clipping import AdaptiveClip, Clipping
from ringfort.privacy.events import Gaussian
from ringfort.privacy.grid import STEPS
from ringfort.privacy.ledger import Receipt
from ringfort.privacy.noise import gaussian_slack, grid_gaussian, noisy_mean
from ringfort.privacy.release import Claim, Release, is_private
from ringfort.privacy.terms import Neighbouring, Poisson, Unit

__all__ = ["ExampleNoise", "PaidSteps"]

_OS: Final = SecureRandom()


@dataclass(frozen=True, slots=True)
class ExampleNoise:
    """Clip every example's gradient, add up, add Gaussian noise on the integer grid, divide by the planned minibatch.

    Args:
        clip: how one example's gradient is bounded; fixed or per layer.
        noise_multiplier: standard deviation of the noise in the sum, in clip norms, at least 2^-10.
        sampling: how minibatches are drawn from the client's own examples: each by its own coin.
        steps: minibatches per round, >= 1.

    Guarantees:
        Whoever sees the client's messages learns as much about any one of its examples as its own ledger's (epsilon,
        delta) allows (add-or-remove-one example). `steps` releases a round are counted. Grid and noise are those of
        `CentralNoise`.

    Raises:
        Incompatible (RF103): an adaptive clip.
        BudgetExceeded (RF401): a receipt that was used before or paid for something else; more steps than were paid.

    Does not protect against: learning what a client's examples have in common, its label counts included; one person
        with many examples; batch normalisation, which mixes examples before their gradients can be clipped.

    Cost: as `CentralNoise` for a cohort of one minibatch, each step.

    Source: Abadi et al. 2016, arXiv:1607.00133.
    """

    clip: Clipping
    noise_multiplier: float
    sampling: Poisson
    steps: int
    name: ClassVar[str] = "example"
    neighbouring: ClassVar[Neighbouring] = Neighbouring.ADD_OR_REMOVE

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier)
        grid_gaussian(self.noise_multiplier, _OS)
        whole(1, steps=self.steps)
        if isinstance(self.clip, AdaptiveClip):
            raise Incompatible("an adaptive clip is for cohorts of clients: use a fixed one")

    @property
    def event(self) -> Gaussian:
        """What one step costs; a round costs `steps` of it."""
        return Gaussian(self.noise_multiplier, self.sampling, gaussian_slack(self.noise_multiplier))

    @property
    def claim(self) -> Claim:
        """What is promised, in words."""
        return Claim(
            self.name,
            Unit.EXAMPLE,
            self.neighbouring,
            "the server, other clients, and whoever reads what the client sends",
            "nobody but the client itself",
            "Example-level differential privacy (add-or-remove-one) of every update that is sent. It hides single "
            "records, not what a client's records have in common.",
        )

    def begin(self, receipt: Receipt, random: SecureRandom = _OS) -> PaidSteps:
        """One round's steps, paid for with a receipt for `steps` times `self.event`."""
        return PaidSteps(self, receipt.redeem(self.event, self.steps), random)


class PaidSteps:
    """The private steps of one round of local training; no more of them than were paid for."""

    __slots__ = ("_left", "_mechanism", "_random", "release")

    def __init__(self, mechanism: ExampleNoise, paid: str, random: SecureRandom) -> None:
        self._mechanism, self._left, self._random = mechanism, mechanism.steps, random
        norm = mechanism.clip.norm
        self.release = Release(mechanism.name, mechanism.event, norm, norm / STEPS, paid, is_private(random))

    def rows(self, count: int) -> I64:
        """Which of `count` examples the next minibatch holds: each by its own coin, from the operating system.

        The chance is the sampling rate, rounded down to a multiple of 2^-64: never more than what is counted. That
        nobody can foresee the coins is what sampling's discount rests on, so no seed of a simulation draws them.
        """
        words = np.frombuffer(self._random.token(8 * count), dtype="<u8")
        limit = np.uint64(int(Fraction(self._mechanism.sampling.rate) * 2**64))
        return np.flatnonzero(words < limit).astype(np.int64)

    def privatise(self, gradients: F32) -> F32:
        """The noisy mean gradient, (d,) float32, of one minibatch.

        Args:
            gradients: (b, d) float32, one row per example of a Poisson minibatch; b may be 0.

        Raises:
            BudgetExceeded (RF401): all steps of the round are used.
        """
        if gradients.ndim != 2 or not gradients.shape[1]:
            raise InvalidValue(f"expected (b, d) gradients, one row per example, got {gradients.shape}")
        if not self._left:
            raise BudgetExceeded(f"the round's {self._mechanism.steps} steps are used: charge the ledger for more")
        self._left -= 1
        of = self._mechanism
        return noisy_mean(gradients, of.clip, of.noise_multiplier, of.sampling.expected, self._random)
