"""Who holds which rows: ways to deal one data set out to many clients.

A partition gives every row to exactly one client. It returns one array of row numbers per client, sorted, and the same
seeds give the same arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ringfort.core.checks import positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.randomness import Seeds
from ringfort.core.values import I64, ClientId

__all__ = ["IID", "ByLabel", "ByOwner", "ByParty", "Dirichlet", "Partition", "describe"]

_ALPHA_MIN, _ALPHA_MAX = 1e-3, 1e6
_ATTEMPTS = 1000


class Partition(Protocol):
    """A way to deal rows out to clients.

    Guarantees:
        The arrays are sorted int64, none is empty, and together they hold each row of the data set exactly once.
        Equal data sets and seeds give equal arrays.
    """

    def __call__(self, dataset: Dataset, seeds: Seeds, /) -> tuple[I64, ...]:
        """One sorted array of row numbers per client."""
        ...


@dataclass(frozen=True, slots=True)
class IID:
    """Every client gets a uniform sample of the rows; sizes differ by at most one.

    Args:
        clients: how many, at least 1.

    Raises:
        InvalidValue (RF104): there are fewer rows than clients.

    >>> from ringfort.core import Dataset, Seeds
    >>> rows = Dataset("six", np.zeros((6, 2), np.float32), np.array([0, 0, 0, 1, 1, 1]), ("no", "yes"))
    >>> [len(part) for part in IID(clients=4)(rows, Seeds(7))]
    [2, 2, 1, 1]
    """

    clients: int

    def __post_init__(self) -> None:
        whole(1, clients=self.clients)

    def __call__(self, dataset: Dataset, seeds: Seeds, /) -> tuple[I64, ...]:
        """Shuffle and deal."""
        _need_rows(dataset, self.clients, "one for each client")
        return _parts(seeds.child("partition", "iid").permutation(len(dataset)) % self.clients, self.clients)


@dataclass(frozen=True, slots=True)
class Dirichlet:
    """Label skew: each class is dealt out in proportions drawn from a symmetric Dirichlet distribution.

    Clients differ in size too. A small alpha gives a class to few clients; a large one approaches IID.

    Args:
        clients: how many, at least 1.
        alpha: concentration, from 0.001 to 1,000,000. The literature's usual hard cases lie between 0.1 and 0.5.
        min_rows: no client gets fewer. Draws that break this are thrown away, 1000 at most, so that a large value
            together with a small alpha changes the distribution that is really sampled.

    Raises:
        InvalidValue (RF104): too few rows, or no draw gave every client `min_rows`.

    Source: Yurochkin et al. 2019, arXiv:1905.12022, section 4 (one draw per class). Hsu et al. 2019, arXiv:1909.06335,
    draw per client and keep the sizes equal, which cannot hand out every row.
    """

    clients: int
    alpha: float
    min_rows: int = 1

    def __post_init__(self) -> None:
        whole(1, clients=self.clients, min_rows=self.min_rows)
        positive(alpha=self.alpha)
        if not _ALPHA_MIN <= self.alpha <= _ALPHA_MAX:
            raise InvalidValue(f"alpha must be from {_ALPHA_MIN} to {_ALPHA_MAX:g}, got {self.alpha}")

    def __call__(self, dataset: Dataset, seeds: Seeds, /) -> tuple[I64, ...]:
        """Draw how many rows of each class each client gets, then which."""
        _need_rows(dataset, self.clients * self.min_rows, f"{self.min_rows} for each client")
        generator = seeds.child("partition", "dirichlet")
        held = np.bincount(dataset.labels, minlength=len(dataset.classes))[:, np.newaxis]
        for _ in range(_ATTEMPTS):
            shares = generator.dirichlet(np.full(self.clients, self.alpha), size=len(held))
            ends = np.minimum(np.cumsum(shares, axis=1) * held, held).astype(np.int64)
            ends[:, -1:] = held
            counts = np.diff(ends, axis=1, prepend=0)
            if counts.sum(axis=0).min() >= self.min_rows:
                break
        else:
            raise InvalidValue(
                f"in {_ATTEMPTS} draws with alpha={self.alpha}, some of the {self.clients} clients always got fewer "
                f"than {self.min_rows} rows: raise alpha, or lower min_rows or clients"
            )
        assigned = np.empty(len(dataset), dtype=np.int64)
        for label, count in enumerate(counts):
            assigned[dataset.labels == label] = generator.permutation(np.repeat(np.arange(self.clients), count))
        return _parts(assigned, self.clients)


@dataclass(frozen=True, slots=True)
class ByLabel:
    """Extreme label skew: each client holds at most `labels_per_client` labels.

    The rows of each label are shuffled and cut into shards of nearly equal size. Starting from one shard per label,
    the label whose shards are largest is cut once more, until there are clients * labels_per_client shards. Each client
    gets labels_per_client of them at random; two may be of the same label, so that it then holds fewer labels.

    Args:
        clients: how many, at least 1.
        labels_per_client: at least 1, at most the number of classes.

    Raises:
        InvalidValue (RF104): more labels per client than classes; fewer shards than labels in the data, so that a
            label would have no holder; or fewer rows than shards.

    Source: McMahan et al. 2017, arXiv:1602.05629, section 3 (the pathological split), whose shards may span two labels.
    """

    clients: int
    labels_per_client: int

    def __post_init__(self) -> None:
        whole(1, clients=self.clients, labels_per_client=self.labels_per_client)

    def __call__(self, dataset: Dataset, seeds: Seeds, /) -> tuple[I64, ...]:
        """Cut each label into shards and deal the shards out."""
        whole(1, len(dataset.classes), labels_per_client=self.labels_per_client)
        n_shards = self.clients * self.labels_per_client
        _need_rows(dataset, n_shards, "one for each client and label")
        present, held = np.unique(dataset.labels, return_counts=True)
        if n_shards < len(present):
            raise InvalidValue(
                f"{self.clients} clients with at most {self.labels_per_client} labels each cannot hold all "
                f"{len(present)} labels of {dataset.name}: raise clients or labels_per_client"
            )
        cuts = np.ones(len(present), dtype=np.int64)
        while cuts.sum() < n_shards:
            cuts[np.argmax(held / cuts)] += 1
        generator = seeds.child("partition", "by-label")
        holder = generator.permutation(n_shards) % self.clients
        assigned = np.empty(len(dataset), dtype=np.int64)
        for label, n_rows, n_cuts, end in zip(present, held, cuts, np.cumsum(cuts), strict=True):
            shard = generator.permutation(n_rows) % n_cuts
            assigned[dataset.labels == label] = holder[end - n_cuts : end][shard]
        return _parts(assigned, self.clients)


@dataclass(frozen=True, slots=True)
class ByOwner:
    """One client per natural owner (a speaker, a writer, a hospital), in the order of the owners' names.

    Nothing is random. Owners are neither merged nor dropped: either would hide whose data a client holds.

    Args:
        min_rows: every owner must have as many rows.

    Raises:
        Incompatible (RF103): the data set does not say who owns its rows.
        InvalidValue (RF104): an owner has fewer than `min_rows` rows, or there are no rows.
    """

    min_rows: int = 1

    def __post_init__(self) -> None:
        whole(1, min_rows=self.min_rows)

    def __call__(self, dataset: Dataset, seeds: Seeds, /) -> tuple[I64, ...]:  # noqa: ARG002 - a Partition gets seeds
        """Group the rows by owner."""
        if dataset.owners is None:
            raise Incompatible(f"{dataset.name} has no natural owners: use IID, Dirichlet or ByLabel")
        _need_rows(dataset, self.min_rows, f"{self.min_rows} for each owner")
        owners, assigned, held = np.unique(dataset.owners, return_inverse=True, return_counts=True)
        if held.min() < self.min_rows:
            raise InvalidValue(
                f"{np.count_nonzero(held < self.min_rows)} of {len(owners)} owners in {dataset.name} have fewer than "
                f"{self.min_rows} rows, the smallest {held.min()}: lower min_rows, or take those rows out first"
            )
        return _parts(assigned, len(owners))


@dataclass(frozen=True, slots=True)
class ByParty:
    """The rows that each client brought, by the names that they agreed on. Nothing is random.

    A client whose rows are on another machine gets none here.

    Args:
        clients: their names, in the order of the federation.

    Raises:
        Incompatible (RF103): the data set does not say who brought its rows, or names somebody else.
    """

    clients: tuple[ClientId, ...]

    def __call__(self, dataset: Dataset, seeds: Seeds, /) -> tuple[I64, ...]:  # noqa: ARG002 - a Partition gets seeds
        """Group the rows by client."""
        owners = dataset.owners
        if owners is None or set(owners) - set(self.clients):
            raise Incompatible(f"{dataset.name} has rows of nobody, or of others than {', '.join(self.clients)}")
        return tuple(np.flatnonzero(owners == client) for client in self.clients)


def describe(parts: tuple[I64, ...], dataset: Dataset) -> I64:
    """How many rows of each class each client holds: (n_clients, n_classes) int64.

    >>> from ringfort.core import Dataset
    >>> rows = Dataset("three", np.zeros((3, 2), np.float32), np.array([0, 1, 1]), ("no", "yes"))
    >>> describe((np.array([0, 2]), np.array([1])), rows).tolist()
    [[1, 1], [0, 1]]
    """
    return np.stack([np.bincount(dataset.labels[part], minlength=len(dataset.classes)) for part in parts])


def _need_rows(dataset: Dataset, n_rows: int, why: str) -> None:
    if len(dataset) < n_rows:
        raise InvalidValue(f"{dataset.name} has {len(dataset)} rows, fewer than the {n_rows} needed ({why})")


def _parts(assigned: I64, clients: int) -> tuple[I64, ...]:
    """From one client number per row to one sorted array of rows per client."""
    order = np.argsort(assigned, kind="stable")
    return tuple(np.split(order, np.cumsum(np.bincount(assigned, minlength=clients))[:-1]))
