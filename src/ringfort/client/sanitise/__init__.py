"""Checks that run beside a client's data before it trains, for honest owners whose data may be dirty or poisoned.

Sanitiser(checks, max_set_aside, class_floor, excess): Dataset -> rows to keep, Report with reasons per row

any data    Specification, ExactDuplicates, NearDuplicates, ReferenceLoss, NeighbourLabels, ConfidentLearning
images      NearDuplicateImages, PatchConsensus
tables      IsolationForest
tokens      PhraseConsensus
series      ToneConsensus

`standard(data, reference)` picks among them; `sanitised(client, sanitiser)` is a client that ran them. `CHECKS` maps
the name of each check that a recipe can list to its class.
"""

from typing import Any

from ringfort.client.sanitise.check import Check, Signs
from ringfort.client.sanitise.clients import sanitised
from ringfort.client.sanitise.duplicates import ExactDuplicates, NearDuplicateImages, NearDuplicates
from ringfort.client.sanitise.neighbours import ConfidentLearning, NeighbourLabels
from ringfort.client.sanitise.outliers import IsolationForest
from ringfort.client.sanitise.patches import PatchConsensus
from ringfort.client.sanitise.phrases import PhraseConsensus
from ringfort.client.sanitise.reference import Reference, ReferenceLoss
from ringfort.client.sanitise.review import review_csv
from ringfort.client.sanitise.sanitiser import Excess, Reason, Report, Sanitiser, Suspect
from ringfort.client.sanitise.specification import Specification
from ringfort.client.sanitise.standard import standard
from ringfort.client.sanitise.tones import ToneConsensus

__all__ = [
    "CHECKS",
    "Check",
    "ConfidentLearning",
    "ExactDuplicates",
    "Excess",
    "IsolationForest",
    "NearDuplicateImages",
    "NearDuplicates",
    "NeighbourLabels",
    "PatchConsensus",
    "PhraseConsensus",
    "Reason",
    "Reference",
    "ReferenceLoss",
    "Report",
    "Sanitiser",
    "Signs",
    "Specification",
    "Suspect",
    "ToneConsensus",
    "review_csv",
    "sanitised",
    "standard",
]

CHECKS: dict[str, type[Any]] = {
    kind.name: kind
    for kind in (
        ConfidentLearning,
        ExactDuplicates,
        IsolationForest,
        NearDuplicateImages,
        NearDuplicates,
        NeighbourLabels,
        PatchConsensus,
        PhraseConsensus,
        ReferenceLoss,
        ToneConsensus,
    )
}
