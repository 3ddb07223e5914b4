"""Clients as real processes behind NVFlare 2.9: mTLS between sites, no code on the wire, one job at a time.

Nothing here imports nvflare but `site`, `provision` and `session`, and nothing outside this package does at all.
"""

from ringfort.engine.nvflare.exchange import Call, NVFlareExchange

__all__ = ["Call", "NVFlareExchange"]
