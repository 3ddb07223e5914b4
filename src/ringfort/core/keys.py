"""Long-term signing keys and the directory that says whose they are. Ed25519 (RFC 8032), by `cryptography`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringfort.core.errors import InvalidValue, UnknownClient
from ringfort.core.tensors import digest_of
from ringfort.core.values import ClientId

__all__ = ["Directory", "SigningKey"]


class SigningKey:
    """One party's private Ed25519 key. Never shown by repr, never pickled, never compared.

    Does not protect: the key against whoever can read this process's memory. Python cannot wipe it.
    """

    __slots__ = ("_private", "public")

    public: bytes
    """The 32 bytes that others verify with."""

    def __init__(self, private: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if len(private) != 32:
            raise InvalidValue("an Ed25519 private key has 32 bytes")
        self._private: Any = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """64 bytes; deterministic. The caller separates domains: see `core.envelope`."""
        signature: bytes = self._private.sign(message)
        return signature

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()[:16]}...)"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is never serialised")


@dataclass(frozen=True)
class Directory(Mapping[ClientId, bytes]):
    """Who has which public key, as everybody in a federation must see it.

    Args:
        entries: name -> 32 bytes. Two names never share a key: one person with two votes would be a Sybil.

    Raises:
        InvalidValue (RF104): a key of another length, or one that two names claim.

    Does not protect: against whoever fills it in. Enrolment is the identity layer's work.
    """

    entries: Mapping[ClientId, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        ordered = {name: bytes(self.entries[name]) for name in sorted(self.entries)}
        if any(len(key) != 32 for key in ordered.values()):
            raise InvalidValue("a public key has 32 bytes")
        if len(set(ordered.values())) != len(ordered):
            raise InvalidValue("two names in the directory have the same key")
        object.__setattr__(self, "entries", ordered)

    def __getitem__(self, name: ClientId) -> bytes:
        return self.entries[name]

    def __iter__(self) -> Iterator[ClientId]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def digest(self) -> str:
        """Names exactly this directory."""
        return digest_of(b"".join(f"{name}\0".encode() + key for name, key in self.entries.items()))

    def only(self, names: Iterable[ClientId]) -> Directory:
        """These names and their keys. Raises KeyError for one that is not in it."""
        return Directory({name: self[name] for name in names})

    def verifies(self, name: ClientId, signature: bytes, message: bytes) -> bool:
        """Whether `name` signed `message`.

        Raises:
            UnknownClient (RF202): nobody of that name is enrolled.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if name not in self.entries:
            raise UnknownClient("not-enrolled", f"{str(name)[:64]!r} has no key in the directory")
        try:
            Ed25519PublicKey.from_public_bytes(self.entries[name]).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True
