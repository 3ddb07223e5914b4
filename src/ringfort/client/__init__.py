"""Floor 2: what runs beside the data. `ringfort.client.torch` is never imported from here."""

from ringfort.client.node import LocalClient, client_names, local_clients
from ringfort.client.numpy_models import NumpyModel

__all__ = ["LocalClient", "NumpyModel", "client_names", "local_clients"]
