"""Floor 2: what runs beside the data. torch models live in `ringfort.client.torch`, which is never imported from here."""

from ringfort.client.node import LocalClient
from ringfort.client.numpy_models import NumpyModel

__all__ = ["LocalClient", "NumpyModel"]
