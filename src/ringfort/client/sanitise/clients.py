"""A client that sanitises its data once, before it trains."""

from __future__ import annotations

from dataclasses import replace

from ringfort.client.node import LocalClient
from ringfort.client.sanitise.sanitiser import Report, Sanitiser
from ringfort.core.errors import TooManySuspicious

__all__ = ["sanitised"]


def sanitised(client: LocalClient, sanitiser: Sanitiser) -> tuple[LocalClient, Report]:
    """The client on the rows it keeps, and what was set aside.

    Where the sanitiser stops, the client keeps its data, answers every message with why, and the round goes on without
    it. Its words hold counts, never a row.

    Raises:
        Incompatible (RF103), MissingExtra (RF105): a check is not made for these data, or cannot run here.
    """
    try:
        kept, report = sanitiser(client.data)
    except TooManySuspicious as stop:
        if not isinstance(stop.report, Report):
            raise
        return replace(client, stopped=stop.message), stop.report
    return replace(client, data=client.data.take(kept)), report
