"""Libraries that the small core does not install: imported where they are needed; an error says what installs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ringfort.core.errors import MissingExtra

__all__ = ["extra", "missing"]


def missing(name: str, why: str) -> MissingExtra:
    """The error that says how to install an extra.

    >>> print(missing("he", "the encrypted seal needs TenSEAL"))
    RF105 the encrypted seal needs TenSEAL: pip install -c constraints.txt 'ringfort[he]'
    """
    return MissingExtra(f"{why}: pip install -c constraints.txt 'ringfort[{name}]'")


@contextlib.contextmanager
def extra(name: str, why: str) -> Iterator[None]:
    """Around the imports of an optional library.

    Args:
        name: the extra that installs it.
        why: what needs it.

    Raises:
        MissingExtra (RF105): it is not installed, or its installation is broken. A fault of Ringfort's own is not
            taken for that: it is raised as it is.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "ringfort":
            raise
        raise missing(name, why) from error
