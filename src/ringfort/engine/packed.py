"""An answer of a party as bytes: what every engine whose parties live elsewhere sends back."""

from __future__ import annotations

from typing import Final

import cbor2

from ringfort.core.errors import MalformedUpdate
from ringfort.core.ports import Failure, Outcome, Reply
from ringfort.core.values import ClientId, Refusal
from ringfort.core.wire import plain_cbor

__all__ = ["pack", "unpack"]

_OVERHEAD_BYTES: Final = 4096
"""What a packed answer is longer than its body, at most."""


def pack(answer: Reply | Failure) -> bytes:
    """An answer as bytes, for the wire."""
    if isinstance(answer, Reply):
        return cbor2.dumps(["reply", answer.body])
    return cbor2.dumps(["failure", answer.error, answer.traceback])


def unpack(client: ClientId, packed: object, limit: int) -> Outcome:
    """What a party answered; whatever is no packed answer, or holds more than `limit` bytes, is refused.

    >>> unpack(ClientId("ada"), pack(Reply(ClientId("ada"), b"yes")), 10)
    Reply(client='ada')
    >>> unpack(ClientId("ada"), b"yes", 10).reason
    'frame'
    """
    if not isinstance(packed, bytes):
        return _refused(client, "frame", f"an answer of type {type(packed).__name__}, not bytes")
    if len(packed) > limit + _OVERHEAD_BYTES:
        return _refused(client, "size", f"an answer of {len(packed)} bytes, more than the {limit} that are allowed")
    try:
        match plain_cbor(packed, depth=2):
            case ["reply", bytes(body)]:
                return Reply(client, body)
            case ["failure", str(error), str(trace)]:
                return Failure(client, error, trace)
    except Exception:  # what the decoder makes of hostile bytes is its business
        return _refused(client, "frame", "an answer that cannot be decoded")
    return _refused(client, "frame", "an answer that is no message")


def _refused(client: ClientId, reason: str, detail: str) -> Refusal:
    return Refusal(client, MalformedUpdate.code, reason, detail)
