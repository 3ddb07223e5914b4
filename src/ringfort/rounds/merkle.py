"""The Merkle tree of RFC 6962 over the round records: one head vouches for all of them, and short proofs for each.

A leaf is SHA-256(0x00 || entry), a node SHA-256(0x01 || left || right); a tree of n leaves splits at the largest power
of two below n. A record's `digest` is its leaf. Hashes are bytes of length 32 throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ringfort.core.errors import BadProof

__all__ = ["EMPTY_ROOT", "Tree", "consistency_path", "inclusion_path", "root_from", "verify_consistency"]

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The head of a tree without leaves."""


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The head of a growing tree. Holds one hash per power of two, so it stays small however many leaves there were.

    Args:
        leaves: to begin with, in order.

    >>> Tree([bytes(32)]).root == bytes(32)
    True

    Source: RFC 6962, section 2.1; RFC 9162, section 2.1.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """One leaf more."""
        left = self.size
        while left & 1:
            leaf = _node(self._peaks.pop(), leaf)
            left >>= 1
        self._peaks.append(leaf)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The head."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            root = _node(peak, root)
        return root


def _split(n: int) -> int:
    """The largest power of two below n."""
    return 1 << ((n - 1).bit_length() - 1)


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """What `root_from` needs to get from one leaf to the head of all. RFC 6962, section 2.1.1.

    Args:
        leaves: all of the tree's.
        index: from 0.
    """
    path, first, last = [], 0, len(leaves)
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            path.append(Tree(leaves[middle:last]).root)
            last = middle
        else:
            path.append(Tree(leaves[first:middle]).root)
            first = middle
    return path[::-1]


def consistency_path(leaves: Sequence[bytes], before: int) -> list[bytes]:
    """What `verify_consistency` needs to see that a tree of `before` leaves grew into this one. RFC 6962, 2.1.2.

    Args:
        leaves: all of the tree's.
        before: 0 <= before <= len(leaves).
    """
    if before in (0, len(leaves)):
        return []
    path, first, last, whole = [], 0, len(leaves), True
    while before != last - first:
        middle = _split(last - first)
        if before <= middle:
            path.append(Tree(leaves[first + middle : last]).root)
            last = first + middle
        else:
            path.append(Tree(leaves[first : first + middle]).root)
            first, before, whole = first + middle, before - middle, False
    if not whole:
        path.append(Tree(leaves[first:last]).root)
    return path[::-1]


def root_from(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The head that a tree of `size` leaves must have if `leaf` is its `index`-th. RFC 9162, section 2.1.3.2.

    Raises:
        BadProof (RF705): no proof for this place in a tree of this size, whatever the head.
    """
    if not 0 <= index < size:
        raise BadProof("the proof is for a place outside the tree")
    at, last, root = index, size - 1, leaf
    for other in path:
        if not last:
            raise BadProof("the proof is longer than the tree is high")
        if at & 1 or at == last:
            root = _node(other, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = _node(root, other)
        at, last = at >> 1, last >> 1
    if last:
        raise BadProof("the proof is shorter than the tree is high")
    return root


def verify_consistency(before: int, old: bytes, size: int, new: bytes, path: Sequence[bytes]) -> None:
    """See that the tree with the head `new` begins with the `before` leaves under `old`. RFC 9162, section 2.1.4.2.

    Raises:
        BadProof (RF705): it does not, or nobody has shown it.
    """
    if not 0 <= before <= size or (not before and old != EMPTY_ROOT) or (not size and new != EMPTY_ROOT):
        raise BadProof("no tree of this size has this head")
    if before == size or not before:
        if path or (before == size and old != new):
            raise BadProof("the two heads are not those of one log")
        return
    steps = list(path) if before & (before - 1) else [old, *path]
    if not steps:
        raise BadProof("the proof is shorter than the tree is high")
    at, last = before - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    was = now = steps[0]
    for other in steps[1:]:
        if not last:
            raise BadProof("the proof is longer than the tree is high")
        if at & 1 or at == last:
            was, now = _node(other, was), _node(other, now)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            now = _node(now, other)
        at, last = at >> 1, last >> 1
    if last or was != old or now != new:
        raise BadProof("the two heads are not those of one log")
