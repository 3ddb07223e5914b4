"""The one optional library of this package, found without importing it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ringfort.core.extras import missing

__all__ = ["has_sklearn", "sklearn_file"]


def has_sklearn() -> bool:
    """Whether scikit-learn is installed; it is not imported."""
    return find_spec("sklearn") is not None


def sklearn_file(name: str) -> Path:
    """A data file inside the package, which is found but not imported: that alone would take two seconds.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise missing("data", "this data set comes with scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data" / name
