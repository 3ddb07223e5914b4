"""Sabotaged twins: each looks like a sound rule or attack and breaks one promise. The suite must catch them all."""

import inspect
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from ringfort.aggregate import Krum
from ringfort.attacks import Control, Knowledge, LabelFlip, SignFlip, ThreatModel
from ringfort.core.dataset import Dataset
from ringfort.core.errors import ToleranceExceeded
from ringfort.core.values import Aggregate
from ringfort.core.views import squared_distances
from ringfort.testing import check_attack, check_rule, toy_rows

DOC = """A twin.

    Guarantees: none.

    Does not protect against: anything.

    Cost: none.

    Source: made up.
    """


class Base:
    __doc__ = DOC
    name: ClassVar[str] = "twin"

    def bears(self, n):
        return self.f if n > 2 * self.f else 0

    def enough(self, n):
        if n <= 2 * self.f:
            raise ToleranceExceeded.of("twin", self.f, n, 2 * self.f + 1)

    def __call__(self, view):
        self.enough(view.n)
        return self.out(view, np.sort(view.matrix, axis=0)[self.f : view.n - self.f].mean(axis=0))

    def out(self, view, delta, weights=None):
        weights = np.full(view.n, 1 / view.n) if weights is None else weights
        return Aggregate(np.asarray(delta, dtype=np.float32), view.clients, weights, self.name)


def twin(doc=DOC, frozen=True):
    def make(kind):
        kind.__doc__ = doc
        kind.__annotations__ = {**inspect.get_annotations(kind), "f": int}
        kind.f = 2
        return dataclass(frozen=frozen)(kind)

    return make


@twin()
class Sound(Base):
    pass


@twin()
class ForgetsTheHighSide(Base):
    def __call__(self, view):
        self.enough(view.n)
        return self.out(view, np.sort(view.matrix, axis=0)[self.f :].mean(axis=0, dtype=np.float64))


@twin()
class ForgetsTheLowSide(Base):
    def __call__(self, view):
        self.enough(view.n)
        return self.out(view, np.sort(view.matrix, axis=0)[: view.n - self.f].mean(axis=0, dtype=np.float64))


@twin()
class ClampsF(Base):
    def __call__(self, view):
        f = min(self.f, (view.n - 1) // 2)
        return self.out(view, np.sort(view.matrix, axis=0)[f : view.n - f].mean(axis=0))


@twin()
class ClampsFWhereKrumShouldRefuse(Base):
    def bears(self, n):
        return self.f if n >= 2 * self.f + 3 else 0


@twin()
class ClaimsMoreThanItBears(Base):
    def bears(self, n):
        return self.f + 1 if n > 2 * self.f + 2 else 0


@twin()
class ClaimsHalf(Base):
    def bears(self, n):
        return n // 2


@twin()
class RefusesWithTheWrongError(Base):
    def enough(self, n):
        if n <= 2 * self.f:
            raise ValueError("too few")


@twin()
class SortsItsInputInPlace(Base):
    def __call__(self, view):
        self.enough(view.n)
        view.matrix.sort(axis=0)
        return self.out(view, view.matrix[self.f : view.n - self.f].mean(axis=0))


@twin()
class WritesBehindTheViewsBack(Base):
    def __call__(self, view):
        result = super().__call__(view)
        view.matrix.base[0, 0] += 1
        return result


@twin()
class ReturnsARowOfItsInput(Base):
    f = 0

    def __call__(self, view):
        chosen = int(np.argmin(view.matrix[:, 0]))
        weights = np.zeros(view.n)
        weights[chosen] = 1
        return self.out(view, view.matrix[chosen], weights)


@twin()
class ReusesItsBuffer(Base):
    buffer: ClassVar[dict] = {}

    def __call__(self, view):
        result = super().__call__(view)
        out = self.buffer.setdefault(view.d, np.empty(view.d, dtype=np.float32))
        out[:] = result.delta
        return self.out(view, out)


@twin()
class TakesTheLowerMiddle(Base):
    """Right for odd cohorts, the lower of the two middle values for even ones."""

    def bears(self, n):
        return (n - 1) // 2

    def __call__(self, view):
        return self.out(view, np.sort(view.matrix, axis=0)[(view.n - 1) // 2])


@twin()
class WeightsDoNotSumToOne(Base):
    def out(self, view, delta, weights=None):
        return super().out(view, delta, np.full(view.n, 1 / (view.n - self.f)))


@twin()
class NegativeWeights(Base):
    def out(self, view, delta, weights=None):
        weights = np.full(view.n, 1 / (view.n - 2))
        weights[0] = -weights[0]
        return super().out(view, delta, weights)


@twin()
class WeightsAreNaN(Base):
    def out(self, view, delta, weights=None):
        return super().out(view, delta, np.full(view.n, np.nan))


@twin()
class NamesTheClientsBackwards(Base):
    def out(self, view, delta, weights=None):
        return Aggregate(delta, view.clients[::-1], np.full(view.n, 1 / view.n), self.name)


@twin()
class BlamesAClientThatCounts(Base):
    def out(self, view, delta, weights=None):
        return Aggregate(delta, view.clients, np.full(view.n, 1 / view.n), self.name, {view.clients[0]: "bad"})


@twin()
class AnswersInFloat64(Base):
    def out(self, view, delta, weights=None):
        return Aggregate(delta.astype(np.float64), view.clients, np.full(view.n, 1 / view.n), self.name)


@twin()
class SignsWithAnotherName(Base):
    def out(self, view, delta, weights=None):
        return Aggregate(delta, view.clients, np.full(view.n, 1 / view.n), "mean")


@twin()
class TrustsTheFirstClient(Base):
    def __call__(self, view):
        self.enough(view.n)
        middle = np.sort(view.matrix, axis=0)[self.f : view.n - self.f]
        return self.out(view, np.clip(view.matrix[0], middle[0], middle[-1]))


@twin()
class RollsDice(Base):
    def __call__(self, view):
        result = super().__call__(view)
        return self.out(view, result.delta + np.float32(1e-4) * np.random.default_rng().standard_normal(view.d))


@twin()
class ShrinksTowardsZero(Base):
    def out(self, view, delta, weights=None):
        return super().out(view, delta * np.float32(0.999))


@twin()
class ClipsAtAnAbsoluteNorm(Base):
    def out(self, view, delta, weights=None):
        return super().out(view, np.minimum(delta, 6))


@twin()
class FailsOnColumnMajorMemory(Base):
    def __call__(self, view):
        self.enough(view.n)
        columns = np.ascontiguousarray(view.matrix.T)  # no copy where the input is column-major: sorts the input
        columns.sort(axis=1)
        return self.out(view, columns[:, self.f : view.n - self.f].mean(axis=1))


def krum_twin(distances_of):
    @twin()
    class KrumTwin(Base):
        def bears(self, n):
            return self.f if n >= 2 * self.f + 3 else 0

        def enough(self, n):
            if n < 2 * self.f + 3:
                raise ToleranceExceeded.of("twin", self.f, n, 2 * self.f + 3)

        def __call__(self, view):
            self.enough(view.n)
            chosen = int(np.argmin(distances_of(view, self.f)))
            weights = np.zeros(view.n)
            weights[chosen] = 1
            return self.out(view, view.matrix[chosen].copy(), weights)

    return KrumTwin


def _float32_scores(view, f):
    with np.errstate(over="ignore", invalid="ignore"):
        gram = view.matrix @ view.matrix.T
        squares = np.diagonal(gram)
        distances = squares[:, None] + squares[None, :] - 2 * gram  # inf - inf is NaN, and argmin loves NaN
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, : view.n - f - 2].sum(axis=1)


def _farthest_scores(view, f):
    return -squared_distances(view).sum(axis=1)


def _with_itself(view, f):
    return np.sort(squared_distances(view), axis=1)[:, : view.n - f - 2].sum(axis=1)


KrumInFloat32 = krum_twin(_float32_scores)
KrumOfTheFarthest = krum_twin(_farthest_scores)
KrumWithItself = krum_twin(_with_itself)

RULE_TWINS = [
    (ForgetsTheHighSide, "out of the honest range|scaling"),
    (ForgetsTheLowSide, "out of the honest range|scaling"),
    (ClampsF, "instead of raising ToleranceExceeded"),
    (ClampsFWhereKrumShouldRefuse, "it runs on 5 clients with f = 2 instead of raising|it runs on 6"),
    (ClaimsMoreThanItBears, "3 of 11 rows moved .* out of the honest range"),
    (ClaimsHalf, "half or more|out of the honest range"),
    (RefusesWithTheWrongError, "on 1 clients it raised ValueError: too few"),
    (SortsItsInputInPlace, "it raised ValueError: .*read-only"),
    (WritesBehindTheViewsBack, "it wrote to its input"),
    (ReturnsARowOfItsInput, "delta is a part of its input"),
    (ReusesItsBuffer, "two calls write to one and the same delta"),
    (TakesTheLowerMiddle, "scaling every row by -4"),
    (WeightsDoNotSumToOne, "weights do not sum to one"),
    (NegativeWeights, "weights are not"),
    (WeightsAreNaN, "weights are not"),
    (NamesTheClientsBackwards, "does not name the view's clients in order"),
    (BlamesAClientThatCounts, "a reason for leaving out a client that counts"),
    (AnswersInFloat64, "delta is not"),
    (SignsWithAnotherName, "signed 'mean', not 'twin'"),
    (TrustsTheFirstClient, "client order changes the step"),
    (RollsDice, "two calls on equal input differ"),
    (ShrinksTowardsZero, "shifting every row by 8|equal rows"),
    (ClipsAtAnAbsoluteNorm, "shifting every row by 8"),
    (FailsOnColumnMajorMemory, "read-only|column-major"),
    (KrumInFloat32, "out of the honest range|not finite"),
    (KrumOfTheFarthest, "out of the honest range"),
]


def test_the_sound_rule_that_the_twins_are_made_from_passes():
    check_rule(Sound())


@pytest.mark.parametrize(("kind", "sentence"), RULE_TWINS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_sabotaged_rule_is_caught(kind, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_rule(kind())


def test_krum_that_counts_itself_as_a_neighbour_passes_the_suite_but_not_the_known_answers():
    check_rule(KrumWithItself())  # weaker than Krum, yet within what `bears` claims on random data
    line = toy_rows([[0], [1], [3], [7], [100]])
    assert KrumWithItself(f=1)(line).delta != Krum(f=1)(line).delta == 1


@pytest.mark.parametrize("missing", ["Guarantees", "Does not protect against", "Cost", "Source"])
def test_a_rule_whose_docstring_lacks_a_section_is_caught(missing):
    twin(doc=DOC.replace(missing, "Something else"))(kind := type("Undocumented", (Base,), {}))
    with pytest.raises(AssertionError, match=f"docstring has no section '{missing}'"):
        check_rule(kind())


def test_a_rule_that_is_not_frozen_is_caught():
    class Plain(Base):
        __doc__ = DOC
        f = 2

    thawed = twin(frozen=False)(type("Thawed", (Base,), {}))
    for kind in (thawed, Plain):
        with pytest.raises(AssertionError, match="frozen dataclass"):
            check_rule(kind())


# --- attacks

ATTACK_DOC = """A twin.

    Threat: as stated.

    Source: made up.
    """
BLIND = ThreatModel("harm", Knowledge.OWN_DATA | Knowledge.OWN_UPDATES, Control.UPDATES, True)


@dataclass(frozen=True)
class Attacker:
    __doc__ = ATTACK_DOC
    name: ClassVar[str] = "twin"
    metric: ClassVar[str] = ""
    threat: ClassVar[ThreatModel] = BLIND

    def craft(self, view, rng):
        return -view.own_updates

    def success(self, predict, test):
        return None


@dataclass(frozen=True)
class Poisoner:
    __doc__ = ATTACK_DOC
    name: ClassVar[str] = "twin"
    metric: ClassVar[str] = "share"
    threat: ClassVar[ThreatModel] = ThreatModel("harm", Knowledge.OWN_DATA, Control.DATA, True)

    def poison(self, data, rng):
        return data.with_rows(data.inputs, (data.labels + 1) % len(data.classes))

    def success(self, predict, test):
        return 0.5


def attack_twin(base, doc=ATTACK_DOC, frozen=True, **members):
    kind = type("Twin", (base,), {"__doc__": doc, "__annotations__": {}, **members})
    return dataclass(frozen=frozen)(kind)


def _writes_labels(self, data, rng):
    data.labels[:] = 0
    return data


def _writes_inputs(self, data, rng):
    data.inputs[rng.integers(len(data))] = 0
    return data.with_rows(data.inputs, np.zeros_like(data.labels))


def _writes_own(self, view, rng):
    own = view.own_updates
    own *= -1
    return own.copy()


def _unseeded(self, view, rng):
    return -view.own_updates * np.float32(np.random.default_rng().random())


def _unseeded_poison(self, data, rng):
    return data.with_rows(data.inputs, np.random.default_rng().integers(0, len(data.classes), len(data)))


ATTACK_TWINS = {
    "reads honest updates without being granted": (
        Attacker,
        {"craft": lambda self, view, rng: -view.honest_updates[:3]},
        "reaches for more than it states: .*does not grant honest updates",
    ),
    "reads the global model without being granted": (
        Attacker,
        {"craft": lambda self, view, rng: view.own_updates * 0 - view.global_model},
        "does not grant global model",
    ),
    "peeks past the view": (
        Attacker,
        {"craft": lambda self, view, rng: view.own_updates - view._honest_updates.mean(axis=0)},
        "depends on what its threat model does not grant",
    ),
    "crafts updates but states that it controls data": (
        Attacker,
        {"threat": ThreatModel("harm", BLIND.knows, Control.DATA, True)},
        "crafts updates that its threat model does not control",
    ),
    "poisons data but states that it controls updates": (
        Poisoner,
        {"threat": ThreatModel("harm", BLIND.knows, Control.UPDATES, True)},
        "poisons data that its threat model does not control",
    ),
    "writes to its own updates": (Attacker, {"craft": _writes_own}, "craft.. wrote to what it was shown"),
    "sends float64": (Attacker, {"craft": lambda self, view, rng: -view.own_updates.astype(np.float64)}, "float32"),
    "sends one update too few": (Attacker, {"craft": lambda self, view, rng: -view.own_updates[1:]}, "does not give"),
    "crafts without its generator": (Attacker, {"craft": _unseeded}, "not a function of its view and generator"),
    "poisons without its generator": (Poisoner, {"poison": _unseeded_poison}, "not a function of its generator"),
    "writes to the client's labels": (Poisoner, {"poison": _writes_labels}, "wrote to the client's data"),
    "writes to the client's inputs": (Poisoner, {"poison": _writes_inputs}, "wrote to the client's data"),
    "poisons nothing": (Poisoner, {"poison": lambda self, data, rng: data}, "changed nothing"),
    "changes the number of examples": (
        Poisoner,
        {"poison": lambda self, data, rng: data.take(np.arange(len(data) - 1))},
        "changed the inputs' shape",
    ),
    "succeeds more than always": (Poisoner, {"success": lambda self, predict, test: 1.5}, "outside"),
    "has no number": (Poisoner, {"success": lambda self, predict, test: float("nan")}, "outside"),
    "has a metric without a measurement": (Attacker, {"metric": "share"}, "metric is empty if and only if"),
    "has a measurement without a metric": (Poisoner, {"metric": ""}, "metric is empty if and only if"),
}


@pytest.fixture
def images():
    rng = np.random.default_rng(5)
    return Dataset("toy", rng.random((30, 1, 8, 8), dtype=np.float32), rng.integers(0, 3, 30), ("a", "b", "c"))


@pytest.mark.parametrize("base", [Attacker, Poisoner])
def test_the_sound_attacks_that_the_twins_are_made_from_pass(base, images):
    check_attack(attack_twin(base)(), images)


@pytest.mark.parametrize(("base", "members", "sentence"), ATTACK_TWINS.values(), ids=ATTACK_TWINS)
def test_a_sabotaged_attack_is_caught(base, members, sentence, images):
    with pytest.raises(AssertionError, match=sentence):
        check_attack(attack_twin(base, **members)(), images)


def test_an_attack_without_poison_or_craft_is_caught(images):
    @dataclass(frozen=True)
    class Idle:
        __doc__ = ATTACK_DOC
        name: ClassVar[str] = "idle"
        metric: ClassVar[str] = ""
        threat: ClassVar[ThreatModel] = BLIND

        def success(self, predict, test):
            return None

    with pytest.raises(AssertionError, match=r"has poison\(\) or craft\(\)"):
        check_attack(Idle(), images)


@pytest.mark.parametrize("missing", ["Threat", "Source"])
def test_an_attack_whose_docstring_lacks_a_section_is_caught(missing, images):
    kind = attack_twin(Attacker, doc=ATTACK_DOC.replace(missing, "Other"))
    with pytest.raises(AssertionError, match=f"no section '{missing}'"):
        check_attack(kind(), images)


def test_an_attack_that_is_not_frozen_is_caught(images):
    @dataclass
    class Thawed:
        __doc__ = ATTACK_DOC
        name: ClassVar[str] = "thawed"
        metric: ClassVar[str] = ""
        threat: ClassVar[ThreatModel] = BLIND
        seen: list = field(default_factory=list)
        craft = SignFlip.craft
        success = SignFlip.success

    with pytest.raises(AssertionError, match="frozen dataclass"):
        check_attack(Thawed(), images)


def test_our_own_attacks_fail_when_their_promise_is_broken(images, monkeypatch):
    monkeypatch.setattr(SignFlip, "craft", lambda self, view, rng: view.honest_updates[:3])
    with pytest.raises(AssertionError, match="reaches for more"):
        check_attack(SignFlip(scale=1.0), images)
    monkeypatch.setattr(LabelFlip, "poison", lambda self, data, rng: data)
    with pytest.raises(AssertionError, match="changed nothing"):
        check_attack(LabelFlip(source=1, target=2), images)
