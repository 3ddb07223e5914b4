"""Words as places in a fixed-size vector, the same for whoever prepares text and whoever attacks it."""

from __future__ import annotations

import hashlib
import re

from ringfort.core.checks import whole

__all__ = ["bucket", "words"]

_WORD = re.compile(r"[a-z]+")


def words(text: str) -> list[str]:
    """The text's words in lower case; whatever is no letter of the English alphabet parts them.

    >>> words("Fellow-Citizens of the Senate, 1862:")
    ['fellow', 'citizens', 'of', 'the', 'senate']
    """
    return _WORD.findall(text.lower())


def bucket(word: str, buckets: int) -> int:
    """The word's place among `buckets`, by its SHA-256: stable over machines and versions. Words may share a place.

    >>> bucket("union", 512), bucket("union", 512) == bucket("states", 512)
    (259, False)
    """
    whole(1, buckets=buckets)
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % buckets
