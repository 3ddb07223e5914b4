"""Enrolled identities on every exchange: two thin layers over any Node and any Exchange.

server                                               client
SignedExchange.exchange  --> signed request  -->     SignedNode.handle: verify, then the inner node
                         <-- signed answer   <--     its answer, signed
the receipt goes with the next request, or with `close`
"""

from ringfort.engine.signed.client import Asked, ClientSide, SignedClients, SignedNode
from ringfort.engine.signed.people import People
from ringfort.engine.signed.server import SignedExchange

__all__ = ["Asked", "ClientSide", "People", "SignedClients", "SignedExchange", "SignedNode"]
