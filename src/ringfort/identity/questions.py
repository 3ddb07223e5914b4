"""What a server asks one client, signed: the other half of `messages`, which holds what the client says in return.

Message: the magic `RFS1`, the head's length (4 bytes, big-endian), the head (a flat map in canonical CBOR: number,
model, the server's grant, a receipt), and an envelope of `core.envelope` around the payload. The envelope's context
binds the federation, the client and the head, so the payload is hashed once for all clients that get the same one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2

from ringfort.core.checks import whole
from ringfort.core.envelope import ENVELOPE_OVERHEAD_BYTES, Slot, envelope_head, head_of, open_envelope
from ringfort.core.errors import BadSignature, MalformedUpdate
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.values import ClientId
from ringfort.core.wire import plain_map
from ringfort.identity.documents import hexadecimal
from ringfort.identity.equivocation import Claim
from ringfort.identity.messages import Place

__all__ = ["QUESTION_OVERHEAD_BYTES", "Heard", "Question", "read_question", "seal_question"]

_MAGIC: Final = b"RFS1"
_QUESTION: Final = b"ringfort question v1\x00"
_MAX_HEAD_BYTES: Final = 32 * 1024
QUESTION_OVERHEAD_BYTES: Final = len(_MAGIC) + 4 + _MAX_HEAD_BYTES + ENVELOPE_OVERHEAD_BYTES
_FIELDS: Final = {"number": int, "model": bytes, "grant": bytes, "receipt": bytes}


@dataclass(frozen=True, slots=True)
class Question:
    """Where a request belongs, and what comes with it. All of it is signed with the payload's digest.

    Args:
        run: the run's unpredictable name.
        round: from 1.
        stage: the step of the round, as "train".
        model: digest of the model that the round starts from, 64 hexadecimal characters.
        number: strictly larger than that of every earlier request of this server, whatever its run.
        grant: the server's enrolment, so that renewed and rotated keys need no other way to the client.
        receipt: for the last answer that the server took from this client; empty if there is none.
    """

    run: str
    round: int
    stage: str
    model: str
    number: int
    grant: bytes = field(repr=False)
    receipt: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        whole(1, 2**63 - 1, round=self.round, number=self.number)

    @property
    def head(self) -> bytes:
        """What goes in the clear before the envelope."""
        fields = {
            "number": self.number,
            "model": hexadecimal(self.model, 32),
            "grant": self.grant,
            "receipt": self.receipt,
        }
        return cbor2.dumps(fields, canonical=True)

    def slot(self, authority: bytes, client: ClientId) -> Slot:
        """The envelope's slot: its context binds the federation, the one client that is asked, and the head."""
        bound = hashlib.sha256(_QUESTION + authority)
        bound.update(hashlib.sha256(client.encode()).digest())
        bound.update(hashlib.sha256(self.head).digest())
        return Slot(self.run, self.round, self.stage, bound.digest())


def seal_question(
    key: SigningKey, server: ClientId, authority: bytes, client: ClientId, question: Question, payload: bytes
) -> tuple[bytes, bytes]:
    """All of the message but its payload, and the digest by which the client's answer names the request.

    Args:
        key: the server's.
        server: its name.
        authority: the federation.
        client: who is asked; nobody else can take it for a question to itself.
        question: the place.
        payload: SHA-256 of the payload, 32 bytes.
    """
    head = question.head
    envelope = envelope_head(key, server, question.slot(authority, client), payload)
    start = b"".join((_MAGIC, len(head).to_bytes(4, "big"), head, envelope))
    if len(head) > _MAX_HEAD_BYTES:
        raise MalformedUpdate("question", "a request's head is too long")
    return start, hashlib.sha256(envelope).digest()


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that nobody has verified yet: `open` does.

    Args:
        question: what it says it is.
        server: who it says it is from.
        digest: how an answer names it, 32 bytes.
        content: SHA-256 of the payload, as the request states it.
        envelope: the rest of the message; a view.
    """

    question: Question
    server: ClientId
    digest: bytes
    content: bytes
    envelope: memoryview = field(repr=False)

    def open(self, directory: Directory, authority: bytes, me: ClientId, *, max_body_bytes: int) -> memoryview:
        """The payload, if the server signed it for this client and place. A view, not a copy.

        Raises:
            MalformedUpdate (RF201), UnknownClient (RF202), BadSignature (RF203): it did not.
        """
        slot = self.question.slot(authority, me)
        return open_envelope(self.envelope, directory, self.server, slot, max_body_bytes=max_body_bytes)

    def place(self, authority: bytes) -> Place:
        """Where the answer belongs."""
        asked = self.question
        return Place(asked.run, asked.round, asked.stage, asked.model, authority, self.digest)


def read_question(message: bytes | memoryview, stage: str, *, max_body_bytes: int) -> Heard:
    """Take a request apart, without believing it. Its size is bounded before anything is read.

    Raises:
        MalformedUpdate (RF201): too large, not signed at all, of another version, or with any field missing or extra.
        BadSignature (RF203): it is for another stage than it came by ("wrong-stage").
    """
    try:
        view = memoryview(message).cast("B")
    except TypeError as error:
        raise MalformedUpdate("question", "not a request but another kind of object") from error
    if len(view) > QUESTION_OVERHEAD_BYTES + max_body_bytes:
        raise MalformedUpdate("size", f"too large: {len(view)} bytes, at most {max_body_bytes} of payload are expected")
    magic = bytes(view[:4])
    if magic[:3] == _MAGIC[:3] and magic != _MAGIC:
        raise MalformedUpdate("version", "a signed request of another version than 1, the only one that is spoken")
    length = int.from_bytes(view[4:8], "big")
    if magic != _MAGIC or length > _MAX_HEAD_BYTES or 8 + length > len(view):
        raise MalformedUpdate("unsigned", "not a signed request: nothing else is answered")
    found: dict[Any, Any] = plain_map(bytes(view[8 : 8 + length]))
    if found.keys() != _FIELDS.keys() or any(type(found[name]) is not of for name, of in _FIELDS.items()):
        raise MalformedUpdate("question", "the request's head is not that of version 1")
    envelope = view[8 + length :]
    claim = Claim.of(envelope)
    run, round_, said, _ = claim.place
    if said != stage:
        raise BadSignature("wrong-stage", "the request is for another stage than it came by")
    if not (0 < round_ < 2**63 and 0 < found["number"] < 2**63 and len(found["model"]) == 32):
        raise MalformedUpdate("question", "the request's head is not that of version 1")
    question = Question(run, round_, said, found["model"].hex(), found["number"], found["grant"], found["receipt"])
    return Heard(question, claim.sender, hashlib.sha256(head_of(envelope)).digest(), claim.body, envelope)
