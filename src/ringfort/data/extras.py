"""The one optional library of this package, imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ringfort.core.errors import MissingExtra

__all__ = ["sklearn_datasets"]


def sklearn_datasets() -> Any:
    """The module sklearn.datasets.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.
    """
    try:
        return import_module("sklearn.datasets")
    except ImportError as error:
        raise MissingExtra("scikit-learn is not installed: pip install -c constraints.txt 'ringfort[data]'") from error
