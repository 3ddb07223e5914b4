"""Rows that the parties bring: what they agreed on is checked, whose they are is kept."""

import numpy as np
import pytest

from ringfort import data
from ringfort.core import Dataset, Seeds
from ringfort.core.errors import DataUnavailable, Incompatible, InvalidValue

CLASSES = ("no", "yes")


@pytest.fixture
def save(tmp_path):
    def write(name, n=4, shape=(3,), dtype=np.float32, **more):
        arrays = {"inputs": np.full((n, *shape), 7, dtype), "labels": np.arange(n) % 2, **more}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        return tmp_path / f"{name}.npz"

    return write


def test_every_client_owns_the_rows_of_its_file(save):
    split = data.load_own("wards", CLASSES, (3,), {"b": save("b", 3), "a": save("a", 5)}, save("rest", 2))
    assert (len(split.train), len(split.test)) == (8, 2)
    parts = data.ByParty(("a", "b", "c"))(split.train, Seeds(1))
    assert [len(part) for part in parts] == [5, 3, 0]
    assert (split.train.take(parts[0]).labels == [0, 1, 0, 1, 0]).all()
    assert split.train.classes == split.test.classes == CLASSES


def test_a_site_has_one_file_and_a_server_none(save):
    site = data.load_own("wards", CLASSES, (3,), {"a": save("a")}, None)
    assert (len(site.train), len(site.test), site.test.input_shape) == (4, 0, (3,))
    server = data.load_own("wards", CLASSES, (3,), {}, save("rest", 2))
    assert (len(server.train), len(server.test), server.train.input_shape) == (0, 2, (3,))
    assert [len(part) for part in data.ByParty(("a", "b"))(server.train, Seeds(1))] == [0, 0]


def test_the_classes_of_a_file_are_those_agreed_on(save):
    named = save("named", classes=np.array(CLASSES))
    numbered = save("numbered")
    assert len(data.load_own("wards", CLASSES, (3,), {"a": named, "b": numbered}, None).train) == 8
    other = save("other", classes=np.array(["yes", "no"]))
    with pytest.raises(InvalidValue, match="its classes are yes, no; agreed are no, yes"):
        data.load_own("wards", CLASSES, (3,), {"a": other}, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (4,)}, r"the shape \(4,\), agreed is \(3,\)"),
        ({"n": 0}, "holds no rows"),
        ({"labels": np.array([0, 1, 2, 0])}, "outside 0..1"),
        ({"labels": np.array([0, 1])}, "differ in length"),
    ],
)
def test_a_file_that_is_not_what_was_agreed_is_refused(save, change, said):
    with pytest.raises(InvalidValue, match=said):
        data.load_own("wards", CLASSES, (3,), {"a": save("a", **change)}, None)


def test_pixels_and_floats_are_not_mixed(save):
    with pytest.raises(InvalidValue, match="would not mean the same"):
        data.load_own("wards", CLASSES, (3,), {"a": save("a"), "b": save("b", dtype=np.uint8)}, None)


def test_a_missing_file_is_named(save, tmp_path):
    with pytest.raises(DataUnavailable, match=r"nowhere\.npz"):
        data.load_own("wards", CLASSES, (3,), {"a": tmp_path / "nowhere.npz"}, None)


def test_rows_of_strangers_are_refused():
    rows = Dataset("x", np.zeros((2, 1), np.float32), np.zeros(2, np.int64), CLASSES, np.array(["a", "mallory"]))
    with pytest.raises(Incompatible, match="of others than a, b"):
        data.ByParty(("a", "b"))(rows, Seeds(1))
