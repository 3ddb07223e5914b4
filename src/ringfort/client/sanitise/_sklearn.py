"""scikit-learn, imported when a check needs it: the extra `data`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ringfort.core.errors import MissingExtra

__all__ = ["sklearn_module"]


def sklearn_module(name: str) -> Any:
    """The module sklearn.NAME.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.
    """
    try:
        return import_module(f"sklearn.{name}")
    except ImportError as error:
        raise MissingExtra("scikit-learn is not installed: pip install -c constraints.txt 'ringfort[data]'") from error
