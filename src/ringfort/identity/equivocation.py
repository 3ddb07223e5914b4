"""Proof that one client said two different things in one place: two signed headers that anybody can check.

A signed header holds digests only, so a proof reveals nothing of an update and fits in a kilobyte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import cbor2

from ringfort.core.envelope import ENVELOPE_OVERHEAD_BYTES, head_of
from ringfort.core.errors import BadSignature, MalformedUpdate
from ringfort.core.keys import Directory
from ringfort.core.values import ClientId
from ringfort.core.wire import plain_map

__all__ = ["Claim", "EquivocationProof"]

_DOMAIN: Final = b"ringfort envelope v1\x00"
_PROOF: Final = b"RFQ1"
_FIELDS: Final = {"run": str, "round": int, "stage": str, "sender": str, "context": bytes, "body": bytes}
_MAX_HEADER_BYTES: Final = ENVELOPE_OVERHEAD_BYTES - 70
_MAX_PROOF_BYTES: Final = 4 + 64 + 2 * ENVELOPE_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Claim:
    """The signed part of an envelope, without its body.

    Args:
        sender: who is said to have signed.
        place: run, round, stage and context.
        body: the body's SHA-256.
        header: the bytes that are signed.
        signature: over them.
    """

    sender: ClientId
    place: tuple[str, int, str, bytes]
    body: bytes
    header: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def of(cls, envelope: bytes | memoryview) -> Claim:
        """The claim in an envelope's first bytes; not yet believed: see `verify`.

        Raises:
            MalformedUpdate (RF201): not an envelope.
        """
        head = head_of(envelope)
        return cls.read(head[6:-64], head[-64:])

    @classmethod
    def read(cls, header: bytes, signature: bytes) -> Claim:
        """From its two parts.

        Raises:
            MalformedUpdate (RF201): not an envelope's header, or not a signature.
        """
        if not 0 < len(header) <= _MAX_HEADER_BYTES or len(signature) != 64:
            raise MalformedUpdate("envelope", "a claim's header or signature has an impossible length")
        found: dict[Any, Any] = plain_map(header)
        if found.keys() != _FIELDS.keys() or any(type(found[name]) is not of for name, of in _FIELDS.items()):
            raise MalformedUpdate("envelope", "the header is not that of an envelope of version 1")
        place = (found["run"], found["round"], found["stage"], found["context"])
        return cls(ClientId(found["sender"]), place, found["body"], header, signature)

    def verify(self, directory: Directory) -> None:
        """Whether the sender signed it.

        Raises:
            UnknownClient (RF202): the sender is not in the directory.
            BadSignature (RF203): it did not.
        """
        if not directory.verifies(self.sender, self.signature, _DOMAIN + self.header):
            raise BadSignature("signature", f"the signature is not {str(self.sender)[:64]}'s")


@dataclass(frozen=True, slots=True)
class EquivocationProof:
    """Two claims by one client for one place with different bodies. Whoever has the client's key can check it.

    Args:
        first: one of them; the order of the two does not matter and is by digest.
        second: the other.

    Guarantees:
        Without the client's key nobody can make a proof against it. Places must agree in everything, the context
        included: a server that gave a client two models cannot frame it with its two honest answers.

    Raises:
        MalformedUpdate (RF201): the two do not contradict each other ("no-equivocation").

    Does not protect against: a client whose key was stolen; the proof is about the key. And it needs the directory of
        that round: after a rotation the old key is no longer in today's.
    """

    first: Claim
    second: Claim

    def __post_init__(self) -> None:
        if (self.first.sender, self.first.place) != (self.second.sender, self.second.place):
            raise MalformedUpdate("no-equivocation", "the two messages are not one client's for one place")
        if self.first.body == self.second.body:
            raise MalformedUpdate("no-equivocation", "the two messages say the same: a repeat is no equivocation")
        if self.first.body > self.second.body:
            first, second = self.second, self.first
            object.__setattr__(self, "first", first)
            object.__setattr__(self, "second", second)

    @property
    def culprit(self) -> ClientId:
        """Whom it is against."""
        return self.first.sender

    def verify(self, directory: Directory) -> None:
        """Whether both were signed by the culprit's key in `directory`.

        Raises:
            UnknownClient (RF202), BadSignature (RF203): it proves nothing.
        """
        self.first.verify(directory)
        self.second.verify(directory)

    def encode(self) -> bytes:
        """At most 1.3 kB."""
        claims = (self.first, self.second)
        fields = {
            f"{part}{i}": getattr(claim, part) for i, claim in enumerate(claims) for part in ("header", "signature")
        }
        return _PROOF + cbor2.dumps(fields, canonical=True)

    @classmethod
    def decode(cls, data: bytes) -> EquivocationProof:
        """What `encode` made; not yet believed: see `verify`.

        Raises:
            MalformedUpdate (RF201): anything else.
        """
        if len(data) > _MAX_PROOF_BYTES or data[:4] != _PROOF:
            raise MalformedUpdate("proof", "not a proof of equivocation of version 1")
        found = plain_map(data[4:])
        names = {"header0", "signature0", "header1", "signature1"}
        if found.keys() != names or any(type(part) is not bytes for part in found.values()):
            raise MalformedUpdate("proof", "not a proof of equivocation of version 1")
        proof = cls(*(Claim.read(found[f"header{i}"], found[f"signature{i}"]) for i in range(2)))
        if proof.encode() != data:
            raise MalformedUpdate("proof", "the proof's claims are not in their order")
        return proof

    def to_json(self) -> dict[str, Any]:
        """For records and reports."""
        run, round_, stage, context = self.first.place
        return {
            "culprit": self.culprit,
            "run": run,
            "round": round_,
            "stage": stage,
            "context": context.hex(),
            "bodies": [self.first.body.hex(), self.second.body.hex()],
            "proof": self.encode().hex(),
        }
