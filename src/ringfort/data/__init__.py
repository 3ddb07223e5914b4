"""Floor 1: the data sets, verified before they are loaded, and the ways to deal them out to clients."""

from ringfort.data.npz import load_npz
from ringfort.data.own import load_own
from ringfort.data.partition import IID, ByLabel, ByOwner, ByParty, Dirichlet, Partition, describe
from ringfort.data.registry import data_folder, fetch, is_present, load, names, source, verify
from ringfort.data.sources import Check, DataFile, DataSource, Split

__all__ = [
    "IID",
    "ByLabel",
    "ByOwner",
    "ByParty",
    "Check",
    "DataFile",
    "DataSource",
    "Dirichlet",
    "Partition",
    "Split",
    "data_folder",
    "describe",
    "fetch",
    "is_present",
    "load",
    "load_npz",
    "load_own",
    "names",
    "source",
    "verify",
]
