"""Messages between server and clients: a small canonical CBOR header, then raw tensors. No pickle, no tags, no classes.

Frame: the magic `RFW1`, the header's length (4 bytes, big-endian), the header, the body. The header is a flat map of
text, integers and bytes; the body is a model or an update in `Schema.encode`'s form, and the header carries its
SHA-256, so that a signature over the header covers all of it.

Does not protect: who sent it. Authenticity is the identity layer's work; here a name is a claim.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from ringfort.core.errors import MalformedUpdate
from ringfort.core.tensors import Schema, digest_of
from ringfort.core.values import F32, ClientId

__all__ = [
    "FRAME_OVERHEAD_BYTES",
    "Broadcast",
    "Header",
    "encode_update",
    "open_frame",
    "plain_cbor",
    "plain_map",
    "verify_body",
]

_MAGIC: Final = b"RFW1"
_MAX_HEADER_BYTES: Final = 4096
FRAME_OVERHEAD_BYTES: Final = len(_MAGIC) + 4 + _MAX_HEADER_BYTES

_FIELDS: Final[dict[str, dict[str, type]]] = {
    "broadcast": {"kind": str, "run": str, "round": int, "model": bytes, "body": bytes},
    "update": {
        "kind": str,
        "run": str,
        "round": int,
        "client": str,
        "model": bytes,
        "num_examples": int,
        "body": bytes,
    },
}


class _RefuseTags(Mapping[int, Any]):
    """A table of CBOR tags in which every entry refuses: the header has no use for dates, regexes or references."""

    def __getitem__(self, tag: int) -> Any:
        return _refuse

    def __iter__(self) -> Iterator[int]:
        return iter(range(0))

    def __len__(self) -> int:
        return 1

    def __contains__(self, tag: object) -> bool:
        return True


def _refuse(*_: object) -> Any:
    raise cbor2.CBORDecodeError("tags are not allowed")


def plain_cbor(raw: bytes, *, depth: int) -> Any:
    """Decode CBOR without tags, references, indefinite lengths or keys that come twice.

    Raises:
        Exception: whatever a hostile input makes the decoder raise. Callers turn it into an error of their own.
    """
    stream = io.BytesIO(raw)
    value = cbor2.CBORDecoder(
        stream,
        semantic_decoders=_RefuseTags(),
        tag_hook=_refuse,
        max_depth=depth,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    ).decode()
    if stream.tell() != len(raw):
        raise ValueError("bytes follow the value")
    return value


def plain_map(raw: bytes) -> dict[Any, Any]:
    """Decode one flat map of CBOR that is in canonical form, without tags, references or indefinite lengths.

    Bound the size first: this parses what it is given.

    Raises:
        MalformedUpdate (RF201): anything else, whatever the decoder makes of it.
    """
    try:
        fields = plain_cbor(raw, depth=2)
        canonical = cbor2.dumps(fields, canonical=True)
    except Exception as error:  # the decoder's own errors, and whatever a hostile header makes it raise
        raise MalformedUpdate("frame", "the frame's header is not plain CBOR") from error
    if canonical != raw or not isinstance(fields, dict):
        raise MalformedUpdate("frame", "the frame's header is not one canonical map")
    return fields


@dataclass(frozen=True, slots=True)
class Header:
    """The checked header of one frame. Its strings are claims by the sender."""

    kind: str
    run: str
    round: int
    model: str
    body: str
    client: str = ""
    num_examples: int = 0


def _seal(fields: dict[str, object], body: bytes) -> bytes:
    header = cbor2.dumps(fields, canonical=True)
    return b"".join((_MAGIC, len(header).to_bytes(4, "big"), header, body))


def open_frame(frame: bytes | memoryview, kind: str, *, max_body_bytes: int) -> tuple[Header, memoryview]:
    """Split a frame into its checked header and its body, a view without a copy.

    The size is bounded before anything is read, the header before it is parsed. The body's digest is *not* yet
    compared: `verify_body` does, once the caller knows that the message is wanted at all.

    Raises:
        MalformedUpdate (RF201): not a frame, too large, or any field missing, extra, or of another type.
    """
    try:
        view = memoryview(frame).cast("B")
    except TypeError as error:
        raise MalformedUpdate("frame", "not a frame but another kind of object") from error
    if len(view) > FRAME_OVERHEAD_BYTES + max_body_bytes:
        raise MalformedUpdate("size", f"too large: {len(view)} bytes where {max_body_bytes} of tensors are expected")
    if len(view) < 8 or bytes(view[:4]) != _MAGIC:
        raise MalformedUpdate("frame", "not a Ringfort frame of version 1")
    length = int.from_bytes(view[4:8], "big")
    if length > _MAX_HEADER_BYTES or 8 + length > len(view):
        raise MalformedUpdate("frame", "the frame's header is cut or too long")
    raw = bytes(view[8 : 8 + length])
    fields = plain_map(raw)
    wanted = _FIELDS[kind]
    if set(fields) != set(wanted):
        raise MalformedUpdate("frame", f"the frame's header is not that of a version 1 {kind}")
    for name, of in wanted.items():
        if type(fields[name]) is not of:
            raise MalformedUpdate("frame", f"the header's {name!r} must be {of.__name__}")
    if fields["kind"] != kind or len(fields["model"]) != 32 or len(fields["body"]) != 32:
        raise MalformedUpdate("frame", f"the frame's header is not that of a version 1 {kind}")
    fields["model"], fields["body"] = fields["model"].hex(), fields["body"].hex()
    return Header(**fields), view[8 + length :]


def verify_body(header: Header, body: memoryview) -> None:
    """Raise MalformedUpdate (RF201) unless the body has the digest that the header names."""
    if digest_of(body) != header.body:
        raise MalformedUpdate("digest", "the body does not match the digest in its header")


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The server's half of a round: the global model, for one run and round.

    Args:
        run: the run's unpredictable name.
        round: from 1.
        params: the global model, (d,) float32.
        model: the digest of the encoded model; every update names the one it started from.
    """

    run: str
    round: int
    params: F32
    model: str

    @staticmethod
    def encode(run: str, round: int, body: bytes) -> bytes:
        """The frame that carries an encoded model."""
        digest = bytes.fromhex(digest_of(body))
        return _seal({"kind": "broadcast", "run": run, "round": round, "model": digest, "body": digest}, body)

    @classmethod
    def decode(cls, frame: bytes | memoryview, schema: Schema) -> Broadcast:
        """What a client reads; the digest is checked, so a damaged model is never trained on.

        Raises:
            MalformedUpdate (RF201): not a broadcast of this schema, or its digest does not match.
        """
        header, body = open_frame(frame, "broadcast", max_body_bytes=schema.encoded_bytes)
        verify_body(header, body)
        if header.model != header.body:
            raise MalformedUpdate("digest", "the broadcast names another model than the one it carries")
        return cls(header.run, header.round, schema.decode(body), header.model)


def encode_update(client: ClientId, to: Broadcast, delta: F32, num_examples: int, schema: Schema) -> bytes:
    """The frame with which `client` answers the broadcast `to`."""
    body = schema.encode(delta)
    return _seal(
        {
            "kind": "update",
            "run": to.run,
            "round": to.round,
            "client": client,
            "model": bytes.fromhex(to.model),
            "num_examples": num_examples,
            "body": bytes.fromhex(digest_of(body)),
        },
        body,
    )
