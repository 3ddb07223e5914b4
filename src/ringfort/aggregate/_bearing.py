"""What rules and mixings that bear f attackers among enough clients have in common."""

from __future__ import annotations

from typing import ClassVar

from ringfort.core.checks import whole
from ringfort.core.errors import ToleranceExceeded

__all__ = ["Bearing"]


class Bearing:
    """A rule or mixing that is told f, and refuses to run among too few clients to bear it.

    A part has a field `f`, and says in `_least` how many clients it needs, unless an honest majority is enough.
    """

    __slots__ = ()

    f: int
    name: ClassVar[str]

    def __post_init__(self) -> None:
        whole(0, f=self.f)

    @property
    def _least(self) -> int:
        """The fewest clients among whom f are borne."""
        return 2 * self.f + 1

    def bears(self, n: int) -> int:
        """f, if there are enough clients; else it refuses to run."""
        return self.f if n >= self._least else 0

    def _require(self, n: int, called: str = "") -> None:
        """Refuse to run among too few clients; `called` instead of the name.

        Raises:
            ToleranceExceeded (RF301).
        """
        if n < self._least:
            raise ToleranceExceeded.of(called or self.name, self.f, n, self._least)
