"""Floor 2: what runs beside the data. `ringfort.client.torch` is never imported from here."""

from ringfort.client.node import LocalClient
from ringfort.client.numpy_models import NumpyModel

__all__ = ["LocalClient", "NumpyModel"]
