"""One signed answer without its body, as both sides keep it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ringfort.core.errors import InvalidValue, MalformedUpdate
from ringfort.identity.documents import exact, hexadecimal
from ringfort.identity.messages import Place

__all__ = ["Said"]


@dataclass(frozen=True, slots=True)
class Said:
    """One signed answer, without its body.

    Args:
        place: where it belongs.
        head: the envelope without the body, signed by the client; it names the body's digest.
    """

    place: Place
    head: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        at = self.place
        return {
            "run": at.run,
            "round": at.round,
            "stage": at.stage,
            "model": at.model,
            "authority": at.authority.hex(),
            "request": at.request.hex(),
            "head": self.head.hex(),
        }

    @classmethod
    def from_json(cls, value: object) -> Said:
        """What `to_json` made.

        Raises:
            MalformedUpdate (RF201): anything else.
        """
        texts = dict.fromkeys(("run", "stage", "model", "authority", "request", "head"), str)
        found = exact(value, {**texts, "round": int})
        authority, request = (hexadecimal(found[name], 32) for name in ("authority", "request"))
        try:
            place = Place(found["run"], found["round"], found["stage"], found["model"], authority, request)
            return cls(place, bytes.fromhex(found["head"]))
        except (InvalidValue, ValueError) as error:
            raise MalformedUpdate("document", "not a signed answer's head") from error
