"""Two kinds of randomness that never mix.

`Seeds` is for simulation: the same root and path give the same bits on every machine. `SecureRandom` is for secrets:
it asks the operating system and cannot be seeded. A function takes one or the other, and the type checker tells.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import numpy as np

__all__ = ["SecureRandom", "Seeds"]


@dataclass(frozen=True, slots=True)
class Seeds:
    """A tree of named generators for simulations: data splits, initial weights, batches, attackers' choices.

    Args:
        root: the recipe's seed, recorded in every report.
        path: the names from the root to here.

    Guarantees:
        Equal (root, path) give equal bits; different paths give independent streams (SHA-256 into a SeedSequence).
        Parts are typed: child(1) and child("1") differ.

    Does not protect: anything. Everybody who knows the root knows every bit. Never use it for keys, masks or noise.

    >>> bool(Seeds(7).child("round", 3).integers(100) == Seeds(7).child("round", 3).integers(100))
    True
    """

    root: int
    path: tuple[str | int, ...] = ()

    def under(self, *path: str | int) -> Seeds:
        """The subtree below `path`."""
        return Seeds(self.root, self.path + path)

    def integer(self, *path: str | int) -> int:
        """A 63-bit number for libraries that want a seed of their own."""
        return int.from_bytes(self._digest(path)[:8], "big") >> 1

    def child(self, *path: str | int) -> np.random.Generator:
        """The generator at `path`."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(self._digest(path), "big"))))

    def _digest(self, path: tuple[str | int, ...]) -> bytes:
        parts = [f"{type(p).__name__}:{len(str(p))}:{p}" for p in (self.root, *self.path, *path)]
        return hashlib.sha256("/".join(parts).encode()).digest()


class SecureRandom:
    """Randomness from the operating system, for secrets and for names that nobody may predict or repeat.

    There is no seed and no state: it cannot be replayed, on purpose.
    """

    __slots__ = ()

    def token(self, n_bytes: int) -> bytes:
        """`n_bytes` bytes nobody can predict."""
        return secrets.token_bytes(n_bytes)
