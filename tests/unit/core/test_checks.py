import math

import numpy as np
import pytest

from ringfort.core.checks import at_least, fraction, positive, whole
from ringfort.core.errors import InvalidValue

NOT_NUMBERS = [None, "3", b"3", True, False, [3], math.nan, math.inf, -math.inf, 1 + 0j, 10**400, np.ones(2)]
shown = pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda v: ascii(v)[:20])


@shown
@pytest.mark.parametrize("check", [positive, fraction, lambda **named: at_least(0, **named)])
def test_what_is_no_finite_number_is_refused_by_name(check, value):
    with pytest.raises(InvalidValue, match="rate must be a finite number"):
        check(rate=value)


@pytest.mark.parametrize("value", [None, "3", True, 3.0, np.ones(2), [3]], ids=lambda v: ascii(v)[:20])
def test_what_is_no_integer_is_refused_by_name(value):
    with pytest.raises(InvalidValue, match="f must be a whole number"):
        whole(0, f=value)


def test_bounds_are_part_of_the_domain():
    whole(0, 3, least=0, most=3)
    at_least(0, zero=0, more=0.5)
    fraction(none=0, all=1.0)
    positive(tiny=5e-324, large=1e308)


@pytest.mark.parametrize(
    "call",
    [
        lambda: whole(0, f=-1),
        lambda: whole(0, 3, f=4),
        lambda: whole(0, 3, f=10**5000),
        lambda: positive(f=0),
        lambda: positive(f=-0.0),
        lambda: at_least(0, f=-1e-300),
        lambda: fraction(f=1.0000001),
        lambda: fraction(f=-1),
    ],
)
def test_a_value_outside_its_domain_is_refused_with_the_domain_in_the_message(call):
    with pytest.raises(InvalidValue, match=r"^RF104 f must (be|lie) .*(0|3)") as caught:
        call()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [np.full(3, 987654.0), [987654], {"x": 987654}, (987654,), b"987654"], ids=type)
def test_a_message_never_prints_what_a_container_holds(value):
    for check in (positive, fraction, lambda **named: whole(0, **named)):
        with pytest.raises(InvalidValue) as caught:
            check(rate=value)
        assert "987654" not in str(caught.value)


def test_every_value_of_a_call_is_checked():
    with pytest.raises(InvalidValue, match="second"):
        whole(1, first=1, second=0)
