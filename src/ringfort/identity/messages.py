"""What a client signs with an update, what the server signs in return, and what was said twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from ringfort.core.checks import whole
from ringfort.core.envelope import Slot, head_of, open_envelope, seal_envelope
from ringfort.core.errors import InvalidValue, MalformedUpdate, QuotaExceeded, Replay
from ringfort.core.files import canonical_json
from ringfort.core.keys import Directory, SigningKey
from ringfort.core.values import ClientId, client_id
from ringfort.identity.documents import exact, hexadecimal, read_document
from ringfort.identity.equivocation import Claim, EquivocationProof
from ringfort.identity.times import moment, stamp

__all__ = ["Place", "Receipt", "Seen", "Taken", "open_receipt", "open_update", "seal_receipt", "seal_update"]

_UPDATE: Final = b"ringfort update v1\x00"
_RECEIPT: Final = b"ringfort receipt v2\x00"
_RECEIPT_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where an update belongs. All of it is signed with the update's digest and the client's name.

    Args:
        run: the run's unpredictable name.
        round: from 1.
        stage: the step of the round, as "update".
        model: digest of the model that the update started from.
        authority: the federation's public key, so that nothing is good in another federation.
        request: digest of the one request that it answers, 32 bytes; empty where requests are not signed. A client
            that is asked twice in one place may then answer twice without contradicting itself.
    """

    run: str
    round: int
    stage: str
    model: str
    authority: bytes
    request: bytes = b""

    def __post_init__(self) -> None:
        whole(1, round=self.round)
        if len(self.authority) != 32:
            raise InvalidValue("an authority's public key has 32 bytes")
        if len(self.request) not in (0, 32):
            raise InvalidValue("a request's digest has 32 bytes")

    @property
    def slot(self) -> Slot:
        """The envelope's slot; its context binds the model, the federation and the request."""
        bound = hashlib.sha256(_UPDATE + self.authority + hexadecimal(self.model, 32) + self.request).digest()
        return Slot(self.run, self.round, self.stage, bound)

    def receipt_slot(self, envelope: bytes | memoryview) -> Slot:
        """Where the receipt for exactly this envelope, or its head, belongs. The head names the body's digest."""
        head = hashlib.sha256(head_of(envelope)).digest()
        bound = hashlib.sha256(_RECEIPT + self.slot.context + head).digest()
        return Slot(self.run, self.round, f"{self.stage}/receipt", bound)


def seal_update(key: SigningKey, client: ClientId, place: Place, body: bytes | memoryview) -> bytes:
    """`body` as `client` signs it for `place`."""
    return seal_envelope(key, client, place.slot, body)


def open_update(
    message: bytes | memoryview, directory: Directory, client: ClientId, place: Place, *, max_body_bytes: int
) -> memoryview:
    """The body, if `client`, who must be in this round's directory, signed it for `place`. A view, not a copy.

    Raises:
        MalformedUpdate (RF201), UnknownClient (RF202), BadSignature (RF203): as `core.envelope.open_envelope`.
    """
    return open_envelope(message, directory, client, place.slot, max_body_bytes=max_body_bytes)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the server says it did with one message.

    Args:
        client: whose message.
        at: when it had all of it.
        outcome: "taken": what became of it is in the round's record; or the refusal's stable reason.
    """

    client: ClientId
    at: datetime
    outcome: str

    def to_json(self) -> dict[str, Any]:
        """As it is signed."""
        return {"client": self.client, "at": stamp(self.at), "outcome": self.outcome}


def seal_receipt(
    key: SigningKey, server: ClientId, place: Place, envelope: bytes | memoryview, receipt: Receipt
) -> bytes:
    """The server's word that it received exactly this envelope, and when. Its head is enough to sign for it."""
    client_id(receipt.outcome)
    return seal_envelope(key, server, place.receipt_slot(envelope), canonical_json(receipt.to_json()))


def open_receipt(
    message: bytes, directory: Directory, server: ClientId, place: Place, envelope: bytes | memoryview
) -> Receipt:
    """The receipt for `envelope`, if `server` signed it. Keep it: it shows who is to blame for a lost update.

    Raises:
        MalformedUpdate (RF201), UnknownClient (RF202), BadSignature (RF203): it is not one, or for something else.
    """
    slot = place.receipt_slot(envelope)
    body = open_envelope(message, directory, server, slot, max_body_bytes=_RECEIPT_BYTES)
    found = exact(read_document(bytes(body), max_bytes=_RECEIPT_BYTES), dict.fromkeys(("client", "at", "outcome"), str))
    try:
        receipt = Receipt(client_id(found["client"]), moment(found["at"]), client_id(found["outcome"]))
    except InvalidValue as error:
        raise MalformedUpdate("receipt", "the receipt's fields are not such") from error
    return receipt


class Taken(Enum):
    """What a message is to someone who remembers those before it."""

    FRESH = "fresh"
    REPEAT = "repeat"
    """The same again: a retry. Answer as before, count once."""


class Seen:
    """What every client said in one round. Begin a new one each round: older messages do not open in it anyway.

    Args:
        run: the run it is for.
        round: the round it is for.
        capacity: most messages remembered, as members times stages. Beyond it messages are refused, not forgotten.

    Cost: at most 1 kB a message, whatever its body's size.
    """

    def __init__(self, run: str, round: int, capacity: int) -> None:
        whole(1, capacity=capacity)
        self._run, self._round, self._capacity = run, round, capacity
        self._claims: dict[tuple[ClientId, str, bytes], Claim] = {}

    def take(self, envelope: bytes | memoryview) -> Taken | EquivocationProof:
        """Remember an envelope *that was opened with success*. The first stays; a different second one is proof.

        Raises:
            Replay (RF204): it belongs to another run or round.
            QuotaExceeded (RF205): more messages than there can be ("replay-cache").
        """
        claim = Claim.of(envelope)
        run, round_, stage, context = claim.place
        if (run, round_) != (self._run, self._round):
            raise Replay("wrong-round", f"the message belongs to another run or round than {self._round}")
        before = self._claims.get((claim.sender, stage, context))
        if before is not None:
            return Taken.REPEAT if before.body == claim.body else EquivocationProof(before, claim)
        if len(self._claims) >= self._capacity:
            raise QuotaExceeded("replay-cache", f"more than {self._capacity} messages in one round")
        self._claims[claim.sender, stage, context] = claim
        return Taken.FRESH
