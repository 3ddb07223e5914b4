"""Floor 3: where clients live. The only floor with processes, sockets and clocks.

The names below are loaded on first use: an engine that starts a new process for each message pays for what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringfort.engine.in_process import InProcess
    from ringfort.engine.sealed import SealedExchange
    from ringfort.engine.signed import ClientSide, SignedClients, SignedExchange, SignedNode
    from ringfort.engine.workers import Workers

__all__ = ["ClientSide", "InProcess", "SealedExchange", "SignedClients", "SignedExchange", "SignedNode", "Workers"]

_WHERE = {"InProcess": "in_process", "SealedExchange": "sealed", "Workers": "workers"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"ringfort.engine.{_WHERE.get(name, 'signed')}"), name)
    raise AttributeError(f"module 'ringfort.engine' has no attribute {name!r}")
