"""The same words, together, again and again, in one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ringfort.client.sanitise.check import Signs, need_dimensions, noted
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.values import I64

__all__ = ["PhraseConsensus"]

_MOST_TOKENS: Final = 2_048


@dataclass(frozen=True, slots=True)
class PhraseConsensus:
    """Phrase consensus: text triggers. Tokens that nearly always come together, in many rows of one label, few others.

    For word counts or presences: a token is in a row if its number is above zero.

    Args:
        tokens: smallest number of tokens in a phrase, at least 2. Single words that mark a class are honest.
        share: smallest share of a label's rows that must hold the phrase, in [0, 1].
        least: and their smallest number, at least 2.
        elsewhere: largest share of the other labels' rows that may hold it, in [0, 1].
        together: smallest Jaccard index of two tokens of a phrase within the label, in (0, 1].

    Guarantees: the order of tokens plays no part.

    Does not protect against: triggers of one token, or of words that honest texts of the label use often apart; honest
        idioms of one class (they are flagged too).

    Cost: per label, one product of its rows' presences (of at most 2,048 tokens) with their transpose.

    Source: our own; insertion triggers: Dai et al. 2019, arXiv:1905.12457.
    """

    tokens: int
    share: float
    least: int
    elsewhere: float
    together: float
    name: ClassVar[str] = "phrase-consensus"

    def __post_init__(self) -> None:
        whole(2, tokens=self.tokens, least=self.least)
        positive(share=self.share, together=self.together)
        fraction(share=self.share, elsewhere=self.elsewhere, together=self.together)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: how much more frequent the row's most telling phrase is in its label than elsewhere, in [0, 1]."""
        need_dimensions(self.name, data, (2,), "token counts (N, tokens)")
        present = np.nan_to_num(data.inputs) > 0 if data.inputs.dtype != np.uint8 else data.inputs > 0
        scores = np.zeros(len(data))
        for label in np.unique(data.labels):
            own = np.flatnonzero(data.labels == label)
            others = np.flatnonzero(data.labels != label)
            if not len(others) or len(own) < self.least:
                continue
            for phrase in self._phrases(present[own], present[others].mean(axis=0)):
                holders = own[present[np.ix_(own, phrase)].all(axis=1)]
                inside = len(holders) / len(own)
                outside = float(present[np.ix_(others, phrase)].all(axis=1).mean())
                if len(holders) >= self.least and inside >= self.share and outside <= self.elsewhere:
                    scores[holders] = np.maximum(scores[holders], inside - outside)
        return noted(scores, scores > 0, "a phrase that it shares with rows of its label is rarer elsewhere by {:.2f}")

    def _phrases(self, present: NDArray[np.bool_], outside: NDArray[np.floating]) -> list[I64]:
        """Groups of tokens that come together in these rows, and are more frequent here than outside."""
        counts = present.sum(axis=0)
        wanted = max(self.least, self.share * len(present))
        frequent = np.flatnonzero((counts >= wanted) & (counts / len(present) > outside))
        telling = counts[frequent] / len(present) - outside[frequent]
        frequent = frequent[np.argsort(-telling, kind="stable")[:_MOST_TOKENS]]
        some = present[:, frequent].astype(np.float32)
        both = some.T @ some
        either = counts[frequent, None] + counts[frequent] - both
        linked = both >= self.together * either
        left = set(range(len(frequent)))
        found = []
        while left:  # a token with all that come with it, the most telling first
            first = min(left)
            group = [other for other in np.flatnonzero(linked[first]) if other in left]
            left -= {first, *group}
            if len(group) >= self.tokens:
                found.append(np.sort(frequent[group]))
        return found
