"""Floor 3: where clients live. The only floor with processes, sockets and clocks."""

from ringfort.engine.in_process import InProcess
from ringfort.engine.sealed import SealedExchange
from ringfort.engine.signed import ClientSide, SignedClients, SignedExchange, SignedNode
from ringfort.engine.workers import Workers

__all__ = ["ClientSide", "InProcess", "SealedExchange", "SignedClients", "SignedExchange", "SignedNode", "Workers"]
