"""Ringfort's own mechanisms pass their audit, and twins with a third of the noise or no clip do not."""

from dataclasses import replace

import numpy as np
import pytest

from ringfort.audit.canary import (
    Setting,
    central_claim,
    central_release,
    distributed_claim,
    distributed_release,
    examine,
    example_claim,
    example_release,
)
from ringfort.audit.canary.transcript import play
from ringfort.core.errors import Incompatible
from ringfort.privacy import (
    CentralNoise,
    DistributedNoise,
    Everyone,
    ExampleNoise,
    FixedClip,
    Grid,
    Neighbouring,
    Poisson,
)
from ringfort.privacy.grid import STEPS
from ringfort.secagg.encoding import Encoding

SMALL = Setting(200, 600)
CENTRAL = CentralNoise(FixedClip(0.5), 1.0, Poisson(0.5, 100), Neighbouring.ADD_OR_REMOVE)
ENCODING = Encoding(clip=0.5, bits=13, ring_bits=32, rotate=True)


def shared(noise_multiplier=1.0, neighbouring=Neighbouring.ZERO_OUT):
    d = SMALL.dimensions
    grid = Grid(ENCODING.scale(d), ENCODING.norm_bound(d), ENCODING.length(d))
    return DistributedNoise(FixedClip(0.5), noise_multiplier, 10, 2, neighbouring, grid)


def failed(claim, build, number=0):
    transcript = play(build, claim, SMALL, np.random.default_rng([5, number]))
    return {test.name for test in examine(transcript, claim, claim.curve()) if test.rejected}


def central(mechanism, number):
    return central_release(mechanism, np.random.default_rng([6, number]))


EXAMPLE = ExampleNoise(FixedClip(0.5), 1.0, Poisson(0.5, 100), 4)


def test_training_by_example_passes():
    claim = example_claim(EXAMPLE, 2, 1e-5)
    assert (claim.clip_norm, claim.sampling_rate, claim.rounds) == (0.5, 0.5, 8)
    assert not all(failed(claim, example_release(EXAMPLE), number) for number in range(3))


def test_training_by_example_with_half_the_noise_no_clip_or_too_many_examples_is_refuted(monkeypatch):
    claim = example_claim(EXAMPLE, 2, 1e-5)
    assert "noise" in failed(claim, example_release(replace(EXAMPLE, noise_multiplier=0.5)))
    often = replace(EXAMPLE, sampling=Poisson(0.9, 100))
    assert "mean reach" in failed(claim, example_release(often))
    # a missing clip alone changes nothing: the grid shortens what is too long. Without both:
    unbounded = lambda row, clip: (row.astype(np.float64) * (STEPS / clip.norm)).astype(np.int64)  # noqa: E731
    monkeypatch.setattr("ringfort.privacy.noise.on_grid", unbounded)
    assert {"mean reach", "longest reach"} <= failed(claim, example_release(EXAMPLE))


def test_training_by_example_with_foreseeable_coins_or_the_same_noise_twice_is_refuted(monkeypatch):
    from ringfort.privacy import PaidSteps
    from ringfort.testing import DeterministicRandom

    claim = example_claim(EXAMPLE, 2, 1e-5)
    real = PaidSteps.__init__
    monkeypatch.setattr(
        PaidSteps, "__init__", lambda self, of, paid, random: real(self, of, paid, DeterministicRandom("seed"))
    )
    assert "fresh noise" in failed(claim, example_release(EXAMPLE))


def test_central_noise_passes():
    # The noise is the operating system's: each audit errs with at most 3 %, so three of three with 3e-5.
    claim = central_claim(CENTRAL, 4, 1e-5)
    assert (claim.clip_norm, claim.sampling_rate) == (0.5, 0.5)
    assert not all(failed(claim, central(CENTRAL, number), number) for number in range(3))


def test_distributed_noise_passes():
    claim = distributed_claim(shared(), 1, 1e-5)
    assert not all(failed(claim, distributed_release(shared(), ENCODING), number) for number in range(3))


def test_a_third_of_the_noise_is_refuted():
    claim = central_claim(CENTRAL, 4, 1e-5)
    assert "noise" in failed(claim, central(replace(CENTRAL, noise_multiplier=1 / 3), 0))
    assert "noise" in failed(distributed_claim(shared(), 1, 1e-5), distributed_release(shared(1 / 3), ENCODING))


def test_a_seal_that_clips_at_twice_the_norm_is_refuted():
    class Loose(Encoding):
        def encode(self, delta, seed, random, **given):
            return super().encode(2 * delta, seed, random, **given)

    loose = Loose(clip=1.0, bits=13, ring_bits=32, rotate=True)
    d = SMALL.dimensions
    grid = Grid(loose.scale(d), loose.norm_bound(d), loose.length(d))
    mechanism = DistributedNoise(FixedClip(0.5), 1.0, 10, 2, Neighbouring.ZERO_OUT, grid)
    assert "mean reach" in failed(distributed_claim(mechanism, 1, 1e-5), distributed_release(mechanism, loose))


def test_a_clip_that_is_twice_as_wide_is_refuted():
    claim = central_claim(CENTRAL, 4, 1e-5)
    wide = replace(CENTRAL, clip=FixedClip(1.0), noise_multiplier=0.5)  # the same noise
    assert "mean reach" in failed(claim, central(wide, 0))


def test_cohorts_drawn_more_often_than_claimed_are_refuted():
    claim = central_claim(CENTRAL, 4, 1e-5)
    often = replace(CENTRAL, sampling=Everyone(100))
    assert "mean reach" in failed(claim, central(often, 0))


def test_claims_that_canaries_cannot_test_are_refused():
    with pytest.raises(Incompatible, match="add-or-remove"):
        central_claim(replace(CENTRAL, neighbouring=Neighbouring.REPLACE), 1, 1e-5)
    with pytest.raises(Incompatible, match="zero-out"):
        distributed_claim(shared(neighbouring=Neighbouring.REPLACE), 1, 1e-5)
