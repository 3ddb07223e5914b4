"""Clients as real processes behind NVFlare 2.9: mTLS between sites, no code on the wire, one job at a time.

`aggregator` is the other way round: Ringfort inside a job of NVFlare's own FedAvg recipe.

Nothing here imports nvflare but `site`, `provision`, `session` and `aggregator`, and nothing outside this package does.
"""

from ringfort.engine.nvflare.exchange import Call, NVFlareExchange

__all__ = ["Call", "NVFlareExchange"]
