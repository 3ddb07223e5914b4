"""Ringfort and Flower (flwr 1.41): inside somebody's app, or Ringfort's own federation over a SuperLink.

    gate = rf.Gate(max_norm=50.0, max_examples=10_000)
    strategy = RingfortStrategy(rf.Defence(rf.MultiKrum(f=1)), gate, f=1, run="runs/app")
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=3)

The only package that imports flwr. The names below are loaded on first use: Flower starts a new process for each
message, and a node needs none of what the server does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ringfort.core.extras import extra

with extra("flower", "the Flower engine needs flwr"):
    import_module("flwr")

if TYPE_CHECKING:
    from ringfort.engine.flower.exchange import FlowerExchange, node_app
    from ringfort.engine.flower.mods import Guarded, Private
    from ringfort.engine.flower.names import node_name
    from ringfort.engine.flower.strategy import RingfortStrategy

__all__ = ["FlowerExchange", "Guarded", "Private", "RingfortStrategy", "node_app", "node_name"]

_WHERE = {"Guarded": "mods", "Private": "mods", "RingfortStrategy": "strategy", "node_name": "names"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"ringfort.engine.flower.{_WHERE.get(name, 'exchange')}"), name)
    raise AttributeError(f"module 'ringfort.engine.flower' has no attribute {name!r}")
