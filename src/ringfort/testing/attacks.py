"""The conformance suite of attacks: what every attack must do, whoever wrote it.

The check raises AssertionError with a sentence. It runs over every registered attack, so a new one is tested by
existing; third parties call it on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfort.attacks.threat import (
    Attack,
    AttackerView,
    Control,
    DataAttack,
    Knowledge,
    Memory,
    RoundDataAttack,
    Score,
    ThreatModel,
    UpdateAttack,
)
from ringfort.core.dataset import Dataset
from ringfort.core.docs import section
from ringfort.core.errors import NotGranted, ToleranceExceeded
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32
from ringfort.testing._require import frozen, require

__all__ = ["check_attack"]

_ROUNDS: Final = 3
_QUESTIONS: Final = 64
"""The most an attack may ask the live defence in one round."""


def check_attack(attack: Attack, images: Dataset, *, seed: int = 0) -> None:
    """Everything an attack must do: documented, frozen, within its threat model, shapes kept, inputs untouched, seeded.

    Within its threat model: it states that it controls what it changes, reads only what is granted, and what is not
    granted makes no difference to what it sends or remembers.

    Over three rounds: what it remembers is in the view's memory, as named arrays and floats, and nowhere else, so that
    two federations that run in turn do not disturb each other. It works alone as well as in a group.

    With clients of its own to train: it works with what the harness lends it.

    With the live defence: it shows it the honest rows as they are, then one row per attacker, asks at most 64 times a
    round, and has something to send when the defence refuses every round.

    Args:
        attack: the object under test.
        images: a data set it can be measured on.
        seed: of the test's own choices.

    Raises:
        AssertionError: with the first thing that is wrong.
    """
    kind = type(attack)
    for name in ("Threat", "Source"):
        require(bool(section(kind, name)), f"{kind.__name__}'s docstring has no section {name!r}")
    require(frozen(kind), "an attack is a frozen dataclass")
    known = (DataAttack, RoundDataAttack, UpdateAttack)
    require(isinstance(attack, known), "an attack has poison() or craft() or poison_round()")
    if isinstance(attack, DataAttack):
        _poisons(attack, attack.poison, "poison()", images, seed)
    if isinstance(attack, RoundDataAttack):
        _poisons_in_rounds(attack, images, seed)
    if isinstance(attack, UpdateAttack):
        _crafts(attack, images, seed)
    success = attack.success(lambda inputs: np.zeros(len(inputs), dtype=np.int64), images)
    require((success is None) == (not attack.metric), "metric is empty if and only if success() is None")
    require(success is None or 0 <= success <= 1, f"success() is {success}, outside [0, 1]")


def _poisons(attack: Attack, poison: Callable[..., Dataset], name: str, images: Dataset, seed: int) -> None:
    require(Control.DATA in attack.threat.controls, "it poisons data that its threat model does not control")
    before = images.digest()
    one, two = (_granted(poison, images, Seeds(seed).child("check")) for _ in range(2))
    require(images.digest() == before, f"{name} wrote to the client's data")
    require(one.digest() == two.digest(), f"{name} is not a function of its generator")
    require(one.digest() != before, f"{name} changed nothing")
    require(
        one.inputs.shape == images.inputs.shape and one.inputs.dtype == images.inputs.dtype,
        f"{name} changed the inputs' shape or dtype",
    )


def _poisons_in_rounds(attack: RoundDataAttack, images: Dataset, seed: int) -> None:
    score = _score(attack, len(images.classes), seed)
    _poisons(attack, lambda data, rng: attack.poison_round(data, score, rng), "poison_round()", images, seed)


def _score(attack: Attack, classes: int, seed: int) -> Score:
    """The scores of some linear model, for attacks that may see the model."""

    def score(inputs: NDArray[Any]) -> F32:
        if Knowledge.GLOBAL_MODEL not in attack.threat.knows:
            raise NotGranted("the attack's threat model does not grant global model")
        flat = inputs.reshape(len(inputs), -1).astype(np.float32)
        weights: F32 = Seeds(seed).child("score").standard_normal((flat.shape[1], classes), dtype=np.float32)
        return flat @ weights

    return score


@dataclass(frozen=True)
class _Round:
    """What there is to know in one round, whatever is granted."""

    model: F32
    own: F32
    honest: F32
    past: F32 | None
    bias: float = 0.0
    """Tells one defence from another."""
    refuses: bool = False
    asked: list[int] = field(default_factory=list)
    data: Dataset | None = None
    """What each of the attackers' clients holds."""

    def arrays(self) -> list[F32]:
        """All that could be written to."""
        return [self.model, self.own, self.honest, *([] if self.past is None else [self.past])]

    def view(self, threat: ThreatModel, number: int, memory: Memory) -> AttackerView:
        """What the attackers are handed."""
        clients = () if self.data is None else tuple(_Client(self.data, row) for row in self.own)
        return AttackerView(threat, number, self.model, self.own, self.honest, self.past, self.answer, memory, clients)

    def answer(self, rows: F32) -> F32:
        """A defence that the attack may ask: the median, somewhat biased."""
        self.asked.append(len(rows))
        require(len(self.asked) <= _QUESTIONS, f"it asks the live defence more than {_QUESTIONS} times a round")
        expected = (len(self.honest) + len(self.own), self.honest.shape[1])
        require(rows.shape == expected and rows.dtype == np.float32, f"it does not show the defence {expected} float32")
        first = rows[: len(self.honest)]
        require(np.array_equal(first, self.honest), "it does not show the defence the honest rows first, as they are")
        if self.refuses:
            raise ToleranceExceeded("this defence refuses every round")
        step: F32 = np.median(rows, axis=0).astype(np.float32)
        return step + np.float32(self.bias)

    def fits(self, sent: F32) -> bool:
        """Whether it is one float32 row for each attacker."""
        return sent.shape == self.own.shape and sent.dtype == np.float32


@dataclass(frozen=True)
class _Client:
    """A client whose training is a walk that depends on its data and on nothing else."""

    data: Dataset
    told: F32
    steps: int = 12

    def poisoned(self, attack: Attack, /) -> Dataset:
        rng = Seeds(0).child("poisoned")
        if isinstance(attack, DataAttack):
            return attack.poison(self.data, rng)
        if isinstance(attack, RoundDataAttack):
            return attack.poison_round(self.data, _score(attack, len(self.data.classes), 0), rng)
        return self.data

    def train(self, data: Dataset, start: F32 | None = None, steps: int | None = None) -> F32:
        count = self.steps if steps is None else steps
        drawn = Seeds(int(data.digest()[:8], 16)).child("walk").standard_normal(self.told.shape, dtype=np.float32)
        walked: F32 = (0 if start is None else start) + (self.told + drawn) * np.float32(count / self.steps)
        return walked


def _crafts(attack: UpdateAttack, images: Dataset, seed: int) -> None:
    require(Control.UPDATES in attack.threat.controls, "it crafts updates that its threat model does not control")
    untouched = images.digest()

    def _rounds(seed: int, attackers: int = 3, refuses: bool = False) -> list[_Round]:
        return _three(seed, images, attackers, refuses)

    rounds, kept = _rounds(seed), _rounds(seed)
    (sent,), (memory,) = _play(attack, rounds)
    for now, before in zip(rounds, kept, strict=True):
        require(_same(now.arrays(), before.arrays()), "craft() wrote to what it was shown")
    fits = all(one.fits(update) for one, update in zip(kept, sent, strict=True))
    require(fits, "craft() does not give (k, d) float32")
    for value in memory.values():
        what = f"it remembers a {type(value).__name__}, and memory is for named arrays and floats"
        require(isinstance(value, (np.ndarray, float)), what)
    (again,), _ = _play(attack, _rounds(seed))
    require(_same(sent, again), "craft() is not a function of its view and generator")
    (beside, _), _ = _play(attack, _rounds(seed), _rounds(seed + 1))
    require(_same(sent, beside), "craft() is not a function of its view and generator: it remembers outside its memory")
    (blind,), (noted,) = _play(attack, [_blinded(one, attack.threat.knows) for one in kept])
    require(_same(sent, blind), "craft() depends on what its threat model does not grant")
    same = memory.keys() == noted.keys() and all(np.array_equal(memory[key], noted[key]) for key in memory)
    require(same, "what it remembers depends on what its threat model does not grant")
    for odd in (_rounds(seed, attackers=1), _rounds(seed, refuses=True)):
        (answers,), _ = _play(attack, odd)
        fits = all(
            one.fits(update) and bool(np.isfinite(update).all()) for one, update in zip(odd, answers, strict=True)
        )
        require(fits, "craft() does not work for one attacker, or for a defence that refuses every round")
    require(images.digest() == untouched, "craft() wrote to its clients' data")


def _three(seed: int, data: Dataset, attackers: int, refuses: bool) -> list[_Round]:
    """Three rounds of 8 honest clients and some attackers, 50 parameters."""

    def drawn(what: str, number: int, *shape: int) -> F32:
        return Seeds(seed).child(what, number).standard_normal(shape, dtype=np.float32)

    return [
        _Round(
            model=drawn("model", number, 50),
            own=drawn("own", number, attackers, 50),
            honest=drawn("honest", number, 8, 50),
            past=drawn("model", number - 1, 50) if number > 1 else None,
            refuses=refuses,
            data=data,
        )
        for number in range(1, _ROUNDS + 1)
    ]


def _blinded(one: _Round, knows: Knowledge) -> _Round:
    """The same round, with everything changed that may not be known."""

    def other(what: Knowledge, values: F32) -> F32:
        return values if what in knows else values + np.float32(1)

    return _Round(
        other(Knowledge.GLOBAL_MODEL, one.model),
        other(Knowledge.OWN_UPDATES, one.own),
        other(Knowledge.HONEST_UPDATES, one.honest),
        None if one.past is None else other(Knowledge.PAST_MODELS, one.past),
        bias=0.0 if Knowledge.DEFENCE in knows else 1.0,
        data=one.data if Knowledge.OWN_DATA in knows else None,
    )


def _play(attack: UpdateAttack, *federations: list[_Round]) -> tuple[list[list[F32]], list[Memory]]:
    """What the attack sends in each federation, round by round in turn, and what it remembers of each in the end."""
    sent: list[list[F32]] = [[] for _ in federations]
    memories: list[Memory] = [{} for _ in federations]
    for number in range(1, _ROUNDS + 1):
        for i, rounds in enumerate(federations):
            view = rounds[number - 1].view(attack.threat, number, memories[i])
            sent[i].append(_granted(attack.craft, view, Seeds(i).child("check", number)))
    return sent, memories


def _same(one: Sequence[F32], two: Sequence[F32]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def _granted(act: Callable[..., Any], *args: Any) -> Any:
    try:
        return act(*args)
    except NotGranted as error:
        raise AssertionError(f"it reaches for more than it states: {error.message}") from error
    except ToleranceExceeded as error:
        raise AssertionError("it breaks down when the defence that it asks refuses the round") from error
