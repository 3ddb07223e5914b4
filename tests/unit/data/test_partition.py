import numpy as np
import pytest

from ringfort.core import Dataset, Seeds
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.data import IID, ByLabel, ByOwner, Dirichlet, describe

SEEDS = Seeds(3)


def dataset(labels, n_classes=None, owners=None):
    labels = np.asarray(labels, dtype=np.int64)
    classes = tuple(map(str, range(n_classes or int(labels.max()) + 1)))
    return Dataset("made-up", np.zeros((len(labels), 1), np.float32), labels, classes, owners)


def tens(n_rows=1000):
    return dataset(np.arange(n_rows) % 10)


@pytest.mark.parametrize(
    "build",
    [
        lambda: IID(0),
        lambda: IID(True),
        lambda: IID(2.0),
        lambda: Dirichlet(0, 1.0),
        lambda: Dirichlet(2, 0.0),
        lambda: Dirichlet(2, -1.0),
        lambda: Dirichlet(2, float("nan")),
        lambda: Dirichlet(2, float("inf")),
        lambda: Dirichlet(2, 1e-300),
        lambda: Dirichlet(2, 1e300),
        lambda: Dirichlet(2, 1.0, min_rows=0),
        lambda: ByLabel(0, 1),
        lambda: ByLabel(1, 0),
        lambda: ByOwner(0),
    ],
)
def test_values_are_checked_at_construction(build):
    with pytest.raises(InvalidValue):
        build()


@pytest.mark.parametrize("partition", [IID(11), Dirichlet(11, 1.0), Dirichlet(4, 1.0, min_rows=3), ByLabel(6, 2)])
def test_too_few_rows(partition):
    with pytest.raises(InvalidValue, match="10 rows, fewer than the"):
        partition(tens(10), SEEDS)


def test_iid_is_uniform():
    counts = describe(IID(10)(tens(10_000), SEEDS), tens(10_000))
    assert (counts.sum(axis=1) == 1000).all()
    assert counts.min() > 60


def test_dirichlet_skew_grows_as_alpha_falls():
    def largest_share(alpha):
        counts = describe(Dirichlet(10, alpha)(tens(10_000), SEEDS), tens(10_000))
        return (counts / counts.sum(axis=0)).max(axis=0).mean()

    shares = [largest_share(alpha) for alpha in (0.1, 1.0, 10.0, 1e6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.4
    assert shares[-1] < 0.102


def test_dirichlet_respects_min_rows():
    parts = Dirichlet(10, 0.1, min_rows=30)(tens(), SEEDS)
    assert min(map(len, parts)) >= 30


def test_dirichlet_gives_up_and_says_what_to_change():
    with pytest.raises(InvalidValue, match="raise alpha, or lower min_rows or clients"):
        Dirichlet(50, 0.01, min_rows=20)(tens(), SEEDS)


@pytest.mark.parametrize("alpha", [1e-3, 1e6])
def test_dirichlet_at_its_limits(alpha):
    assert sum(map(len, Dirichlet(2, alpha)(tens(), SEEDS))) == 1000


@pytest.mark.parametrize(("clients", "most"), [(5, 2), (10, 1), (10, 2), (100, 2), (3, 10)])
def test_by_label_bounds_the_labels_of_a_client(clients, most):
    counts = describe(ByLabel(clients, most)(tens(), SEEDS), tens())
    assert ((counts > 0).sum(axis=1) <= most).all()
    assert (counts.sum(axis=1) > 0).all()


def test_by_label_cuts_the_largest_label_first():
    skewed = dataset([0] * 90 + [1] * 10)
    sizes = sorted(len(part) for part in ByLabel(10, 1)(skewed, SEEDS))
    assert sizes == [10] * 10


def test_by_label_ignores_absent_labels():
    assert len(ByLabel(2, 1)(dataset([0, 0, 4, 4]), SEEDS)) == 2


def test_by_label_refuses_what_cannot_be():
    with pytest.raises(InvalidValue, match="cannot hold all 10 labels"):
        ByLabel(3, 3)(tens(), SEEDS)
    with pytest.raises(InvalidValue, match="labels_per_client must be from 1 to 10"):
        ByLabel(3, 11)(tens(), SEEDS)


def test_by_owner_groups_in_order_of_names():
    owned = dataset([0, 1, 0, 1], owners=np.array(["zoe", "ada", "zoe", "ada"]))
    assert [part.tolist() for part in ByOwner()(owned, SEEDS)] == [[1, 3], [0, 2]]


def test_by_owner_refuses_small_owners_missing_owners_and_nothing():
    owned = dataset([0, 1, 0], owners=np.array(["zoe", "ada", "zoe"]))
    with pytest.raises(InvalidValue, match="1 of 2 owners in made-up have fewer than 2 rows"):
        ByOwner(min_rows=2)(owned, SEEDS)
    with pytest.raises(Incompatible, match="no natural owners"):
        ByOwner()(tens(), SEEDS)
    with pytest.raises(InvalidValue, match="0 rows"):
        ByOwner()(dataset([], n_classes=1, owners=np.array([], dtype=str)), SEEDS)


def test_describe_counts_absent_classes_too():
    counts = describe(IID(3)(dataset([0, 0, 2], n_classes=4), SEEDS), dataset([0, 0, 2], n_classes=4))
    assert counts.shape == (3, 4)
    assert counts.dtype == np.int64
    assert counts.sum(axis=0).tolist() == [2, 0, 1, 0]
