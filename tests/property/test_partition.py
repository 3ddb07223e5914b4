"""Whatever the labels: every row once, sorted, repeatable, and within each partition's own bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfort.core import Dataset, Seeds
from ringfort.core.errors import InvalidValue
from ringfort.data import IID, ByLabel, ByOwner, Dirichlet, describe


@st.composite
def datasets(draw):
    n_classes = draw(st.integers(1, 6))
    labels = draw(st.lists(st.integers(0, n_classes - 1), min_size=1, max_size=60))
    owners = draw(st.lists(st.sampled_from(["ada", "bo", "cy"]), min_size=len(labels), max_size=len(labels)))
    return Dataset(
        "drawn",
        np.zeros((len(labels), 1), np.float32),
        np.array(labels, np.int64),
        tuple(map(str, range(n_classes))),
        np.array(owners),
    )


clients = st.integers(1, 12)
partitions = st.one_of(
    st.builds(IID, clients),
    st.builds(Dirichlet, clients, st.sampled_from([0.01, 0.3, 1.0, 100.0, 1e6]), st.integers(1, 4)),
    st.builds(ByLabel, clients, st.integers(1, 6)),
    st.builds(ByOwner, st.integers(1, 3)),
)
seeds = st.builds(Seeds, st.integers(0, 2**64))


@given(datasets(), partitions, seeds)
def test_every_row_goes_to_exactly_one_client(dataset, partition, root):
    before = dataset.digest()
    try:
        parts = partition(dataset, root)
    except InvalidValue:
        return
    assert all(part.dtype == np.int64 and len(part) > 0 and (np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(len(dataset)))
    assert describe(parts, dataset).sum() == len(dataset)
    again = partition(dataset, root)
    assert len(again) == len(parts)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    assert dataset.digest() == before


@given(datasets(), clients, seeds)
def test_iid_sizes_differ_by_one_and_never_fail_with_enough_rows(dataset, n, root):
    if n > len(dataset):
        with pytest.raises(InvalidValue):
            IID(n)(dataset, root)
        return
    sizes = [len(part) for part in IID(n)(dataset, root)]
    assert len(sizes) == n
    assert max(sizes) - min(sizes) <= 1


@given(datasets(), clients, st.sampled_from([0.05, 1.0, 50.0]), st.integers(1, 5), seeds)
def test_dirichlet_never_goes_below_min_rows(dataset, n, alpha, min_rows, root):
    try:
        parts = Dirichlet(n, alpha, min_rows)(dataset, root)
    except InvalidValue:
        return
    assert len(parts) == n
    assert min(map(len, parts)) >= min_rows


@given(datasets(), clients, st.integers(1, 6), seeds)
def test_by_label_bounds_labels_and_works_exactly_when_it_can(dataset, n, most, root):
    n_shards = n * most
    possible = most <= len(dataset.classes) and len(np.unique(dataset.labels)) <= n_shards <= len(dataset)
    if not possible:
        with pytest.raises(InvalidValue):
            ByLabel(n, most)(dataset, root)
        return
    counts = describe(ByLabel(n, most)(dataset, root), dataset)
    assert len(counts) == n
    assert (np.count_nonzero(counts, axis=1) <= most).all()


@given(datasets(), seeds)
def test_by_owner_mixes_no_owners_and_ignores_seeds(dataset, root):
    parts = ByOwner()(dataset, root)
    assert [set(dataset.owners[part]) for part in parts] == [{name} for name in sorted(set(dataset.owners))]


@given(st.sampled_from([IID(5), Dirichlet(5, 1.0), ByLabel(5, 2)]), st.integers(0, 2**32), st.integers(1, 2**32))
def test_different_seeds_give_different_partitions(partition, root, step):
    rows = Dataset("tens", np.zeros((300, 1), np.float32), np.arange(300) % 10, tuple("0123456789"))
    one, other = partition(rows, Seeds(root)), partition(rows, Seeds(root + step))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
