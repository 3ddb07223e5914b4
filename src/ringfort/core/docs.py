"""Sections of a docstring as data, so that what a report says about a rule is what the rule's own page says."""

from __future__ import annotations

import inspect
import re

__all__ = ["section", "title"]


def title(thing: type) -> str:
    """The first line of the docstring, without its full stop."""
    return (inspect.getdoc(thing) or thing.__name__).splitlines()[0].rstrip(".")


def section(thing: type, name: str) -> str:
    """The text of `name: ...` in the docstring, up to the next blank line, on one line; empty if there is none.

    >>> class Wall:
    ...     '''A wall.
    ...
    ...     Does not protect against: ladders,
    ...         tunnels.
    ...     '''
    >>> section(Wall, "Does not protect against")
    'ladders, tunnels.'
    """
    found = re.search(rf"^{re.escape(name)}:\s*(.*?)(?:\n\s*\n|\Z)", inspect.getdoc(thing) or "", re.M | re.S)
    return " ".join(found[1].split()) if found else ""
