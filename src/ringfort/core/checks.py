"""Small validators for construction time. Each raises InvalidValue (RF104) naming the value and its domain."""

from __future__ import annotations

import math

from ringfort.core.errors import InvalidValue

__all__ = ["at_least", "fraction", "positive", "whole"]


def _shown(value: object) -> str:
    """A value for a message: short, and never what an array or another container holds."""
    plain = value is None or isinstance(value, (bool, int, float, str))
    try:
        text = repr(value) if plain else f"a {type(value).__name__}"
    except ValueError:  # an integer with more digits than Python prints
        text = "a huge number"
    return text if len(text) <= 80 else f"{text[:80]}..."


def whole(low: int, high: int | None = None, **named: object) -> None:
    """Every value is an integer (not a bool) in [low, high]."""
    for name, value in named.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidValue(f"{name} must be a whole number, got {_shown(value)}")
        if value < low or (high is not None and value > high):
            domain = f"at least {low}" if high is None else f"from {low} to {high}"
            raise InvalidValue(f"{name} must be {domain}, got {_shown(value)}")


def _real(name: str, value: object) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer beyond every float
        pass
    raise InvalidValue(f"{name} must be a finite number, got {_shown(value)}")


def positive(**named: object) -> None:
    """Every value is a finite number above zero."""
    for name, value in named.items():
        if _real(name, value) <= 0:
            raise InvalidValue(f"{name} must be above 0, got {_shown(value)}")


def at_least(low: float, **named: object) -> None:
    """Every value is a finite number, `low` or more."""
    for name, value in named.items():
        if _real(name, value) < low:
            raise InvalidValue(f"{name} must be at least {low}, got {_shown(value)}")


def fraction(**named: object) -> None:
    """Every value is in [0, 1]."""
    for name, value in named.items():
        if not 0 <= _real(name, value) <= 1:
            raise InvalidValue(f"{name} must lie in [0, 1], got {_shown(value)}")
