"""Ringfort puts walls and guards around federated learning, and attacks its own federation to prove them.

The names below are loaded on first use, so that `import ringfort` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringfort.aggregate import Krum, Mean, Median, MultiKrum, TrimmedMean
    from ringfort.attacks import LabelFlip, PixelBackdoor, SignFlip
    from ringfort.audit import evaluator, infiltrate
    from ringfort.client import LocalClient, NumpyModel, local_clients
    from ringfort.core import ClientId, Dataset, LocalTraining, RingfortError, Rows, Seeds, Update, client_id
    from ringfort.engine import InProcess
    from ringfort.rounds import Answer, Defence, Federation, Gate, Hosted, Journal, fuse

__all__ = [
    "Answer",
    "ClientId",
    "Dataset",
    "Defence",
    "Federation",
    "Gate",
    "Hosted",
    "InProcess",
    "Journal",
    "Krum",
    "LabelFlip",
    "LocalClient",
    "LocalTraining",
    "Mean",
    "Median",
    "MultiKrum",
    "NumpyModel",
    "PixelBackdoor",
    "RingfortError",
    "Rows",
    "Seeds",
    "SignFlip",
    "TrimmedMean",
    "Update",
    "client_id",
    "evaluator",
    "fuse",
    "infiltrate",
    "local_clients",
]

_PACKAGES = ("core", "aggregate", "attacks", "client", "rounds", "engine", "audit")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for package in _PACKAGES:
            module = import_module(f"ringfort.{package}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'ringfort' has no attribute {name!r}")
