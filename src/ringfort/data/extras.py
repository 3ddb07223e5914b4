"""The one optional library of this package, imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ringfort.core.errors import MissingExtra

__all__ = ["has_sklearn", "sklearn_datasets", "sklearn_file"]

_MISSING = "scikit-learn is not installed: pip install -c constraints.txt 'ringfort[data]'"


def has_sklearn() -> bool:
    """Whether scikit-learn is installed; it is not imported."""
    return find_spec("sklearn") is not None


def sklearn_datasets() -> Any:
    """The module sklearn.datasets.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.
    """
    try:
        return import_module("sklearn.datasets")
    except ImportError as error:
        raise MissingExtra(_MISSING) from error


def sklearn_file(name: str) -> Path:
    """A data file inside the package, which is found but not imported: that alone would take two seconds.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise MissingExtra(_MISSING)
    return Path(spec.origin).parent / "datasets" / "data" / name
