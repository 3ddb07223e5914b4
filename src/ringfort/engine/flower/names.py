"""How records call a node of a SuperLink."""

from __future__ import annotations

from ringfort.core.values import ClientId, client_id

__all__ = ["node_name"]


def node_name(node_id: int) -> ClientId:
    """How records call a node.

    >>> node_name(17)
    'node-17'
    """
    return client_id(f"node-{node_id}")
