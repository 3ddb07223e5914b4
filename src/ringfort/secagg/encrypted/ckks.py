"""CKKS by TenSEAL, used so that sums of integers modulo 2^32 come out exact; opened by one key-holder.

    client i      y_i = x_i + pad_i modulo 2^32, pad_i a keystream whose seed only the key-holder gets
                  c_i = CKKS.encrypt(y_i, read as signed)
    coordinator   C = sum c_i
    key-holder    round(CKKS.decrypt(C)) - sum pad_i = sum x_i modulo 2^32

The pads are what binds the key-holder's answer to its list of clients. CKKS ciphertexts can be altered in meaningful
ways, and whoever chooses one that is decrypted can learn the key; so the key-holder cannot tell what it decrypts. But
whatever the coordinator hands in, every y_i in it is uniformly random to the coordinator, and what comes back has the
pads of the whole list taken off: the sum over the list plus something that the coordinator could have made up.

Ciphertexts and keys are parsed by TenSEAL and SEAL, native code: only from a signed sender, and only after their size
was bounded here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import numpy as np

from ringfort.core.errors import Incompatible, Inconsistent, MalformedUpdate
from ringfort.core.extras import extra
from ringfort.core.randomness import SecureRandom
from ringfort.secagg.encrypted.scheme import SECRET_BYTES, U32, Sealed
from ringfort.secagg.hazmat import add_keystreams

__all__ = ["DEGREE", "MODULUS_BITS", "SCALE_BITS", "Ckks", "CkksKey", "CkksSum"]

DEGREE: Final = 4096
MODULUS_BITS: Final = (60, 49)
"""109 bits, all that degree 4096 allows at 128 bits of security (Homomorphic Encryption Security Standard, Table 1).

Ciphertexts use the first prime. Encryption divides by the second, which takes nearly all noise with it.
"""
SCALE_BITS: Final = 20
"""One unit of y is 2^20: at n = 255, the most that fits, the noise in a sum has a deviation of 0.01 units."""

_SLOTS: Final = DEGREE // 2
_TOLERANCE: Final = 0.25
_PIECE_BYTES: Final = 2 * DEGREE * 8 + 1024
_PUBLIC_BYTES: Final = 1 << 18
_BINDING_ERRORS: Final = (ValueError, RuntimeError, TypeError, IndexError, MemoryError)
"""What TenSEAL's bindings make of SEAL's exceptions."""


@dataclass(frozen=True, slots=True)
class Ckks:
    """The scheme. Its parameters are fixed: there is one choice that is secure, exact and as small as it gets."""

    @property
    def public_bytes(self) -> int:
        """A TenSEAL context with a public key has some 125,000."""
        return _PUBLIC_BYTES

    def ciphertext_bytes(self, length: int) -> int:
        """30 to 32 bytes a coordinate."""
        return _pieces(length) * (4 + _PIECE_BYTES)

    def request_bytes(self, length: int) -> int:
        """The sum's ciphertext."""
        return self.ciphertext_bytes(length)

    def partial_bytes(self, length: int) -> int:
        """The sum itself."""
        return 4 * length

    def require(self, n: int, length: int) -> None:  # noqa: ARG002
        """A sum of n signed words of 32 bits, times the scale, must stay below q/2."""
        most = 1 << (MODULUS_BITS[0] - 1 - 31 - SCALE_BITS)
        if n >= most:
            raise Incompatible(
                f"CKKS at degree {DEGREE} opens exact sums of at most {most - 1} clients, got {n}: take smaller "
                "cohorts, or the masked seal, which costs far less"
            )

    def helper_key(self, random: SecureRandom) -> CkksKey:  # noqa: ARG002
        """A fresh key pair. SEAL draws it from the operating system."""
        return CkksKey(_fresh_context())

    def encrypt(self, values: U32, publics: Sequence[bytes], seed: bytes, random: SecureRandom) -> Sealed:  # noqa: ARG002
        """As `Scheme.encrypt`.

        Cost: TenSEAL's own; padding, cutting into pieces and signing are a few percent of it.
        """
        context = _public_context(*publics)
        pad = random.token(SECRET_BYTES)
        padded = values.astype(np.uint32)
        add_keystreams(padded, plus=[pad])
        tenseal = _tenseal()
        pieces = [tenseal.ckks_vector(context, piece).serialize() for piece in _signed_pieces(padded)]
        return Sealed(_joined(pieces), (pad,))

    def adder(self, length: int, publics: Sequence[bytes], seed: bytes) -> CkksSum:  # noqa: ARG002
        """As `Scheme.adder`."""
        return CkksSum(_public_context(*publics), length)


class CkksKey:
    """A key pair for one sum."""

    __slots__ = ("_context", "public")

    public: bytes

    def __init__(self, context: Any) -> None:
        self._context = context
        self.public = context.serialize(
            save_public_key=True, save_secret_key=False, save_galois_keys=False, save_relin_keys=False
        )

    def __repr__(self) -> str:
        return f"CkksKey(public={len(self.public)} bytes)"

    def __reduce__(self) -> str:
        raise TypeError("a CKKS key is never serialised")

    def open(self, request: memoryview, secrets: Sequence[bytes], length: int, seed: bytes) -> bytes:  # noqa: ARG002
        """The sum without its pads, (length,) uint32.

        Raises:
            Inconsistent (RF505): what was decrypted is not a vector of integers: no sum of honest ciphertexts.
        """
        vectors = _parsed(self._context, request, length)
        sums = np.concatenate([np.array(vector.decrypt()) for vector in vectors])
        whole = np.rint(sums)
        if not (np.abs(sums - whole) <= _TOLERANCE).all() or not (np.abs(whole) < len(secrets) * 2.0**31 + 1).all():
            raise Inconsistent(
                "what was decrypted is no vector of integers in range: a ciphertext is false, or not all of them were "
                "made for this key. Nothing was released; run the round again"
            )
        total = whole[:length].astype(np.int64).astype(np.uint32)
        add_keystreams(total, minus=secrets)
        return bytes(total.astype("<u4"))


class CkksSum:
    """A running sum of ciphertexts."""

    __slots__ = ("_context", "_length", "_sums")

    def __init__(self, context: Any, length: int) -> None:
        self._context, self._length = context, length
        self._sums: list[Any] = []

    def add(self, ciphertext: memoryview) -> None:
        """All of it or nothing."""
        pieces = _parsed(self._context, ciphertext, self._length)
        try:
            self._sums = [s.add(p) for s, p in zip(self._sums, pieces, strict=True)] if self._sums else pieces
        except _BINDING_ERRORS as error:
            raise MalformedUpdate("ciphertext", "TenSEAL cannot add a ciphertext") from error

    def request(self) -> bytes:
        """The sum's ciphertext."""
        return _joined([total.serialize() for total in self._sums])

    def part(self, raw: memoryview) -> U32:
        """The total, as the key-holder says it is."""
        if len(raw) != 4 * self._length:
            raise MalformedUpdate("size", f"a total of {self._length} values has another size than {len(raw)}")
        return np.frombuffer(raw, dtype="<u4").astype(np.uint32)

    def total(self, parts: Sequence[U32]) -> U32:
        """The one key-holder's."""
        (total,) = parts
        return total


def _pieces(length: int) -> int:
    return -(-length // _SLOTS)


def _signed_pieces(values: U32) -> Iterator[Any]:
    """Float64 of as many values as one ciphertext has slots, zeros at the end."""
    for start in range(0, len(values), _SLOTS):
        piece = np.zeros(_SLOTS)
        chunk = values[start : start + _SLOTS].view(np.int32)
        piece[: len(chunk)] = chunk
        yield piece


def _joined(pieces: Sequence[bytes]) -> bytes:
    return b"".join(part for piece in pieces for part in (len(piece).to_bytes(4, "big"), piece))


def _parsed(context: Any, raw: memoryview, length: int) -> list[Any]:
    """One TenSEAL vector per piece, each a fresh-looking ciphertext of this context, of full length and our scale."""
    pieces: list[Any] = []
    at = 0
    while at < len(raw) and len(pieces) <= _pieces(length):
        size = int.from_bytes(raw[at : at + 4], "big")
        if not 0 < size <= _PIECE_BYTES or at + 4 + size > len(raw):
            break
        pieces.append(_vector(context, bytes(raw[at + 4 : at + 4 + size])))
        at += 4 + size
    if at != len(raw) or len(pieces) != _pieces(length):
        raise MalformedUpdate("size", f"not the {_pieces(length)} ciphertexts that {length} values have")
    return pieces


def _vector(context: Any, raw: bytes) -> Any:
    try:
        vector = _tenseal().ckks_vector_from(context, raw)
        parts = vector.ciphertext()
        first = context.seal_context().data.first_parms_id()
        whole = (
            vector.size() == _SLOTS
            and len(parts) == 1
            and parts[0].size() == 2
            and parts[0].parms_id() == first
            and parts[0].scale == 2.0**SCALE_BITS
        )
    except _BINDING_ERRORS as error:
        raise MalformedUpdate("ciphertext", "TenSEAL cannot read a ciphertext") from error
    if not whole:
        raise MalformedUpdate("ciphertext", "a ciphertext has another size, scale or parameters than its key's")
    return vector


def _fresh_context() -> Any:
    tenseal = _tenseal()
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=list(MODULUS_BITS), n_threads=1)
    return _additions_only(context)


def _public_context(public: bytes) -> Any:
    """A key-holder's public context, if it is one of ours and holds no secret key."""
    tenseal = _tenseal()
    if len(public) > _PUBLIC_BYTES:
        raise MalformedUpdate("size", f"a public key of {len(public)} bytes, at most {_PUBLIC_BYTES} are expected")
    try:
        context = tenseal.Context.load(public, 1)
        wanted = _reference_parameters()
        ours = context.seal_context().data.key_parms_id() == wanted and context.has_public_key()
    except _BINDING_ERRORS as error:
        raise MalformedUpdate("public-key", "TenSEAL cannot read the key-holder's public key") from error
    if not ours or context.is_private():
        raise MalformedUpdate("public-key", "the key-holder's public key is not one, or has other parameters")
    return _additions_only(context)


def _additions_only(context: Any) -> Any:
    context.global_scale = math.ldexp(1, SCALE_BITS)
    context.auto_relin = context.auto_rescale = context.auto_mod_switch = False
    return context


@cache
def _reference_parameters() -> Any:
    """SEAL's name for our parameters: a hash of degree and primes."""
    return _fresh_context().seal_context().data.key_parms_id()


def _tenseal() -> ModuleType:
    with extra("he", "the encrypted seal needs TenSEAL"):
        return import_module("tenseal")
