"""Signed envelopes: who says what to whom, where in which protocol. The one signed format in Ringfort.

Frame: the magic `RFE1`, the header's length (2 bytes, big-endian), the header (a flat map in canonical CBOR: run,
round, stage, sender, context, body's SHA-256), the Ed25519 signature over a domain string and the header, the body.
Whoever opens an envelope states what it must be for, so a message for another run, round, stage, sender or context is
never taken, however well it is signed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

import cbor2

from ringfort.core.errors import BadSignature, MalformedUpdate
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.values import ClientId
from ringfort.core.wire import plain_map

__all__ = ["ENVELOPE_OVERHEAD_BYTES", "Slot", "envelope_head", "head_of", "open_envelope", "seal_envelope"]

_MAGIC: Final = b"RFE1"
_DOMAIN: Final = b"ringfort envelope v1\x00"
_MAX_HEADER_BYTES: Final = 512
ENVELOPE_OVERHEAD_BYTES: Final = len(_MAGIC) + 2 + _MAX_HEADER_BYTES + 64


@dataclass(frozen=True, slots=True)
class Slot:
    """The one place in a protocol that a message is for.

    Args:
        run: the run's unpredictable name, at most 64 characters.
        round: from 1.
        stage: the protocol and its step, as "masked/shares"; at most 64 characters.
        context: 32 bytes that both sides must agree on: a digest of the model, the roster, what was said before.
    """

    run: str
    round: int
    stage: str
    context: bytes


def seal_envelope(key: SigningKey, sender: ClientId, slot: Slot, body: bytes | memoryview) -> bytes:
    """`body` signed by `sender` for `slot`."""
    return b"".join((envelope_head(key, sender, slot, hashlib.sha256(body).digest()), body))


def envelope_head(key: SigningKey, sender: ClientId, slot: Slot, digest: bytes) -> bytes:
    """All of an envelope but its body, whose SHA-256 is known already. Head and body make the envelope."""
    header = _header(sender, slot, digest)
    return b"".join((_MAGIC, len(header).to_bytes(2, "big"), header, key.sign(_DOMAIN + header)))


def head_of(envelope: bytes | memoryview) -> bytes:
    """An envelope without its body: it still names the body's digest, and is signed. Not yet believed.

    Raises:
        MalformedUpdate (RF201): not an envelope.
    """
    start = bytes(envelope[:ENVELOPE_OVERHEAD_BYTES])
    length = int.from_bytes(start[4:6], "big")
    if start[:4] != _MAGIC or not 0 < length <= _MAX_HEADER_BYTES or len(start) < 70 + length:
        raise MalformedUpdate("envelope", "not a Ringfort envelope of version 1, or cut")
    return start[: 70 + length]


def open_envelope(
    message: bytes | memoryview, directory: Directory, sender: ClientId, slot: Slot, *, max_body_bytes: int
) -> memoryview:
    """The body, if `sender` signed it for exactly this slot. A view of the message, not a copy.

    Raises:
        MalformedUpdate (RF201): too large, or not an envelope.
        UnknownClient (RF202): the sender is not in the directory.
        BadSignature (RF203): signed by somebody else, for another slot, or altered.
    """
    try:
        view = memoryview(message).cast("B")
    except TypeError as error:
        raise MalformedUpdate("envelope", "not an envelope but another kind of object") from error
    if len(view) > ENVELOPE_OVERHEAD_BYTES + max_body_bytes:
        raise MalformedUpdate("size", f"too large: {len(view)} bytes, at most {max_body_bytes} of body are expected")
    length = int.from_bytes(view[4:6], "big")
    if bytes(view[:4]) != _MAGIC or not 0 < length <= _MAX_HEADER_BYTES or len(view) < 6 + length + 64:
        raise MalformedUpdate("envelope", "not a Ringfort envelope of version 1, or cut")
    header, signature, body = bytes(view[6 : 6 + length]), bytes(view[6 + length : 70 + length]), view[70 + length :]
    wanted = _header(sender, slot, hashlib.sha256(body).digest())
    if not hmac.compare_digest(header, wanted):
        raise BadSignature(*_difference(header, wanted))
    if not directory.verifies(sender, signature, _DOMAIN + header):
        raise BadSignature("signature", f"the signature is not {sender}'s")
    return body


def _header(sender: ClientId, slot: Slot, digest: bytes) -> bytes:
    header = cbor2.dumps(
        {
            "run": slot.run,
            "round": slot.round,
            "stage": slot.stage,
            "sender": sender,
            "context": slot.context,
            "body": digest,
        },
        canonical=True,
    )
    if len(header) > _MAX_HEADER_BYTES:
        raise MalformedUpdate("envelope", "an envelope's names are too long")
    return header


def _difference(header: bytes, wanted: bytes) -> tuple[str, str]:
    """As (reason, sentence), where a header differs from the one that was due."""
    found, due = plain_map(header), plain_map(wanted)
    for name in ("run", "round", "stage", "sender", "context", "body"):
        if found.get(name) != due[name]:
            return f"wrong-{name}", f"the envelope is for another {name}, or was altered"
    return "envelope", "the envelope's header is not that of version 1"
