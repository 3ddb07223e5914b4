"""Conformance suites: what every rule and every attack must do, whoever wrote it.

Each check raises AssertionError with a sentence. They run over every registered object, so a new one is tested by
existing; third parties call them on their own.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ringfort.attacks.threat import Attack, AttackerView, DataAttack, UpdateAttack
from ringfort.core.dataset import Dataset
from ringfort.core.docs import section
from ringfort.core.errors import ToleranceExceeded
from ringfort.core.ports import Rule
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, Aggregate
from ringfort.core.views import Rows
from ringfort.testing.toys import toy_rows

__all__ = ["check_attack", "check_rule"]

_FAR: Final = np.float32(1e15)
_SECTIONS: Final = ("Guarantees", "Does not protect against", "Cost", "Source")


def check_rule(rule: Rule[Any], *, n: int = 11, d: int = 257, seed: int = 0) -> None:
    """Everything a rule on Rows must do.

    Documented sections; frozen; `bears` within [0, n); does not write to its input; deterministic to the bit; client
    order plays no part; weights sum to one and name the clients; equal rows are returned unchanged; moves with a shift
    and a scale of all rows; `bears(n)` rows moved far away leave the output inside the honest range per coordinate (or,
    for weighted sums, inside the honest rows' convex hull's bounding box); refuses cohorts that are too small with
    ToleranceExceeded; d = 1, zero rows, strided and column-major memory all work.

    Args:
        rule: the object under test.
        n: cohort size for the main checks; the rule must accept it.
        d: parameters.
        seed: of the test's own data.

    Raises:
        AssertionError: with the first thing that is wrong.
    """
    kind = type(rule)
    for name in _SECTIONS:
        _require(bool(section(kind, name)), f"{kind.__name__}'s docstring has no section {name!r}")
    _require(_frozen(kind), "a rule is a frozen dataclass")
    rng = Seeds(seed).child("check_rule")
    values = (3 + rng.standard_normal((n, d))).astype(np.float32)
    before = values.copy()
    result = _call(rule, values)
    _require(np.array_equal(values, before), "it wrote to its input")
    _require(result.rule == rule.name, f"the aggregate is signed {result.rule!r}, not {rule.name!r}")
    _require(result.delta.shape == (d,) and result.delta.dtype == np.float32, "delta is not (d,) float32")
    _require(bool(np.isfinite(result.delta).all()), "delta is not finite")
    _require(result.weights.shape == (n,) and bool((result.weights >= 0).all()), "weights are not (n,) and >= 0")
    _require(abs(float(result.weights.sum()) - 1) < 1e-9, "weights do not sum to one")
    _require(np.array_equal(_call(rule, values).delta, result.delta), "two calls on equal input differ")
    _order(rule, values, result, rng)
    _equivariance(rule, values, result)
    _edges(rule, n, values)
    _breakdown(rule, values, rng)
    _refusal(rule)


def _call(rule: Rule[Any], values: F32) -> Aggregate:
    return rule(toy_rows(values))


def _order(rule: Rule[Any], values: F32, result: Aggregate, rng: np.random.Generator) -> None:
    order = rng.permutation(len(values))
    rows = toy_rows(values)
    shuffled = rule(Rows(tuple(rows.clients[i] for i in order), values[order]))
    _close(shuffled.delta, result.delta, "client order changes the step")
    back = dict(zip(shuffled.clients, shuffled.weights, strict=True))
    _close(np.array([back[c] for c in result.clients]), result.weights, "client order changes who counts")


def _equivariance(rule: Rule[Any], values: F32, result: Aggregate) -> None:
    _close(_call(rule, values + np.float32(8)).delta, result.delta + 8, "shifting every row by 8 does not shift delta")
    _close(
        _call(rule, values * np.float32(-4)).delta, result.delta * -4, "scaling every row by -4 does not scale delta"
    )


def _edges(rule: Rule[Any], n: int, values: F32) -> None:
    same = np.repeat(values[:1], n, axis=0)
    _close(_call(rule, same).delta, values[0], "equal rows are not returned unchanged")
    zero = _call(rule, np.zeros((n, 3), dtype=np.float32)).delta
    _require(not zero.any(), "a cohort of zeros does not give zero")
    _require(_call(rule, values[:, :1]).delta.shape == (1,), "d = 1 does not work")
    _close(_call(rule, values[:, ::2]).delta, _call(rule, values[:, ::2].copy()).delta, "strided input differs")
    _close(_call(rule, np.asfortranarray(values)).delta, _call(rule, values).delta, "column-major input differs")


def _breakdown(rule: Rule[Any], values: F32, rng: np.random.Generator) -> None:
    n = len(values)
    f = rule.bears(n)
    _require(0 <= f < n, f"bears({n}) is {f}")
    if f == 0:
        return
    hostile = rng.permutation(n)[:f]
    honest = np.delete(values, hostile, axis=0)
    low, high = honest.min(axis=0), honest.max(axis=0)
    slack = 1e-5 * np.abs(honest).max()
    for place in (_FAR, -_FAR, np.float32(30)):
        attacked = values.copy()
        attacked[hostile] = place
        delta = _call(rule, attacked).delta
        _require(
            bool(((low - slack <= delta) & (delta <= high + slack)).all()),
            f"{f} of {n} rows moved to {place:g} push delta out of the honest range",
        )


def _refusal(rule: Rule[Any]) -> None:
    f = getattr(rule, "f", 0)
    if not f:
        return
    for n in range(1, 2 * f + 1):
        _require(rule.bears(n) == 0, f"bears({n}) is not 0 with f = {f}, though half or more would be hostile")
        try:
            _call(rule, np.ones((n, 2), dtype=np.float32))
        except ToleranceExceeded:
            continue
        raise AssertionError(f"it runs on {n} clients with f = {f} instead of raising ToleranceExceeded")


def check_attack(attack: Attack, images: Dataset, *, seed: int = 0) -> None:
    """Everything an attack must do: documented, frozen, within its threat model, shapes kept, inputs untouched, seeded.

    Args:
        attack: the object under test.
        images: a data set it can be measured on.
        seed: of the test's own choices.

    Raises:
        AssertionError: with the first thing that is wrong.
    """
    kind = type(attack)
    for name in ("Threat", "Source"):
        _require(bool(section(kind, name)), f"{kind.__name__}'s docstring has no section {name!r}")
    _require(_frozen(kind), "an attack is a frozen dataclass")
    _require(isinstance(attack, (DataAttack, UpdateAttack)), "an attack has poison() or craft()")
    if isinstance(attack, DataAttack):
        before = images.digest()
        one, two = (attack.poison(images, Seeds(seed).child("check")) for _ in range(2))
        _require(images.digest() == before, "poison() wrote to the client's data")
        _require(one.digest() == two.digest(), "poison() is not a function of its generator")
        _require(one.digest() != before, "poison() changed nothing")
        _require(
            one.inputs.shape == images.inputs.shape and one.inputs.dtype == images.inputs.dtype,
            "poison() changed the inputs' shape or dtype",
        )
    if isinstance(attack, UpdateAttack):
        own = Seeds(seed).child("own").standard_normal((3, 50)).astype(np.float32)
        others = Seeds(seed).child("others").standard_normal((8, 50)).astype(np.float32)
        kept = own.copy()
        view = AttackerView(attack.threat, 1, np.zeros(50, dtype=np.float32), own, others)
        sent, again = (attack.craft(view, Seeds(seed).child("check")) for _ in range(2))
        _require(np.array_equal(own, kept), "craft() wrote to the attackers' updates")
        _require(sent.shape == own.shape and sent.dtype == np.float32, "craft() does not give (k, d) float32")
        _require(np.array_equal(sent, again), "craft() is not a function of its view and generator")
    success = attack.success(lambda inputs: np.zeros(len(inputs), dtype=np.int64), images)
    _require((success is None) == (not attack.metric), "metric is empty if and only if success() is None")
    _require(success is None or 0 <= success <= 1, f"success() is {success}, outside [0, 1]")


def _frozen(kind: type[Any]) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _close(one: Any, two: Any, sentence: str) -> None:
    _require(np.allclose(one, two, rtol=1e-5, atol=1e-5), sentence)


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)
