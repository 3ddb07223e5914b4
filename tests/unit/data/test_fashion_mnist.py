import gzip
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ringfort import data
from ringfort.core.errors import BadData, DataUnavailable, OutputUnwritable
from ringfort.data import DataFile, clients, fashion_mnist, sources

NAME = "fashion-mnist"
TRAIN_IMAGES = "train-images-idx3-ubyte"


def as_openml(images, labels):
    """What fetch_openml gives: a float64 table and labels as strings."""
    return SimpleNamespace(
        data=images.reshape(len(images), -1).astype(np.float64), target=labels.astype(str).astype(object)
    )


def states(folder):
    return [check.state for check in data.verify(NAME, folder)]


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


# Loading


def test_load_gives_the_rows_in_order_and_read_only(small, tmp_path):
    small.store(tmp_path)
    split = data.load(NAME, tmp_path)
    np.testing.assert_array_equal(np.concatenate([split.train.inputs, split.test.inputs]), small.images)
    np.testing.assert_array_equal(np.concatenate([split.train.labels, split.test.labels]), small.labels)
    assert (len(split.train), len(split.test)) == (6, 4)
    assert split.train.inputs.dtype == np.uint8
    assert split.train.classes[9] == "Ankle boot"
    with pytest.raises(ValueError, match="read-only"):
        split.train.inputs[0] = 0


def test_nothing_there(small, tmp_path):
    with pytest.raises(DataUnavailable, match="ringfort data fetch fashion-mnist"):
        data.load(NAME, tmp_path)
    assert states(tmp_path) == ["missing"] * 4
    assert not data.is_present(NAME, tmp_path)


def test_a_folder_where_a_file_should_be(small, tmp_path):
    (small.store(tmp_path) / TRAIN_IMAGES).unlink()
    (tmp_path / NAME / TRAIN_IMAGES).mkdir()
    with pytest.raises(DataUnavailable, match="cannot read"):
        data.load(NAME, tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: b"",
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: b"\1" + raw[1:],
    ],
    ids=["truncated", "longer", "empty", "edited", "magic"],
)
@pytest.mark.parametrize("index", range(4))
def test_a_wrong_file_is_never_loaded(small, tmp_path, damage, index):
    path = small.store(tmp_path) / small.source.files[index].name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadData, match=path.name) as caught:
        data.load(NAME, tmp_path)
    assert caught.value.code == "RF703"
    assert "\n" not in str(caught.value)
    expected = ["ok"] * 4
    expected[index] = "wrong digest"
    assert states(tmp_path) == expected


def test_presence_looks_at_sizes(small, tmp_path):
    path = small.store(tmp_path) / TRAIN_IMAGES
    assert data.is_present(NAME, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert not data.is_present(NAME, tmp_path)


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\0\x08\x01\0\0\0\x03abc",  # one axis, not two
        b"\0\0\x09\x02\0\0\0\x03\0\0\0\x01abc",  # signed bytes
        b"\1\0\x08\x02\0\0\0\x03\0\0\0\x01abc",  # not IDX
        b"\0\0\x08\x02\0\0\0\x01\0\0\0\x03abc",  # another shape
        b"\0\0\x08\x02\0\0\0\x03\0\0\0\x01ab",  # a value short
        b"\0\0\x08\x02\0\0\0\x03\0\0\0\x01abcd",  # a value long
        b"\0\0\x08",
        b"",
    ],
)
def test_a_wrong_header_is_refused_even_if_a_digest_allowed_it(raw):
    with pytest.raises(BadData, match="not an IDX file"):
        fashion_mnist._parse_idx(np.frombuffer(raw, np.uint8), (3, 1), "name")


# Fetching from Debian


def test_debian_delivers(small, debian, tmp_path):
    said = []
    data.fetch(NAME, tmp_path, said.append)
    assert {path.name: path.read_bytes() for path in leftovers(tmp_path)} == small.content
    assert said[0] == "fashion-mnist: asking Debian's apt-get"
    assert len(data.load(NAME, tmp_path).train) == 6
    (download, options), (extract, _) = debian.calls
    assert download == ["/bin/apt-get", "download", "dataset-fashion-mnist"]
    assert extract[:2] == ["/bin/dpkg-deb", "--extract"]
    assert options["timeout"] > 0
    assert not options.get("shell")


def test_fetch_is_idempotent_and_repairs(small, debian, tmp_path):
    said = []
    data.fetch(NAME, tmp_path)
    data.fetch(NAME, tmp_path, said.append)
    assert said == ["fashion-mnist: already here, every digest is right"]
    assert len(debian.calls) == 2
    (tmp_path / NAME / TRAIN_IMAGES).write_bytes(b"edited")
    data.fetch(NAME, tmp_path)
    assert states(tmp_path) == ["ok"] * 4


def test_an_old_mapping_survives_a_refetch(small, debian, tmp_path):
    data.fetch(NAME, tmp_path)
    before = data.load(NAME, tmp_path).train
    (tmp_path / NAME / "t10k-labels-idx1-ubyte").unlink()
    data.fetch(NAME, tmp_path)
    np.testing.assert_array_equal(before.inputs, small.images[:6])


def test_a_bomb_is_cut_at_the_expected_size(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    assert len(fashion_mnist._gunzip(path, 1000)) == 1001


@pytest.mark.parametrize(
    "packed",
    [b"not gzip", gzip.compress(b"x" * 1000)[:-12], gzip.compress(b"other"), gzip.compress(bytes(5_000_000))],
    ids=["not gzip", "truncated", "other content", "bomb"],
)
def test_a_bad_package_is_one_reason(small, debian, openml, tmp_path, packed):
    debian.files[TRAIN_IMAGES] = packed
    with pytest.raises(DataUnavailable, match=TRAIN_IMAGES):
        data.fetch(NAME, tmp_path)
    assert leftovers(tmp_path) == []


def test_the_known_package_version_has_a_pin_of_its_own(small, debian, openml, tmp_path):
    debian.deb = "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb"
    with pytest.raises(DataUnavailable, match=r"_all.deb has sha256"):
        data.fetch(NAME, tmp_path)
    assert len(debian.calls) == 1  # it was not unpacked


# Fetching from OpenML


def test_openml_gives_the_same_bytes(small, debian, openml, tmp_path):
    debian.returncode = 100
    openml.table = as_openml(small.images, small.labels)
    data.fetch(NAME, tmp_path)
    assert {path.name: path.read_bytes() for path in leftovers(tmp_path)} == small.content
    names, options = openml.options
    assert names == ("Fashion-MNIST",)
    assert (options["version"], options["as_frame"]) == (1, False)


@pytest.mark.parametrize("spoil", ["pixel", "label", "order", "fewer", "nan"])
def test_openml_rows_that_differ_are_refused(small, debian, openml, tmp_path, spoil):
    debian.returncode = 100
    table = as_openml(small.images, small.labels)
    if spoil == "pixel":
        table.data[7, 3] += 1
    elif spoil == "label":
        table.target[0] = str((int(table.target[0]) + 1) % 10)
    elif spoil == "order":
        table.data, table.target = table.data[::-1], table.target[::-1]
    elif spoil == "fewer":
        table.data, table.target = table.data[:-1], table.target[:-1]
    else:
        table.data[0, 0] = np.nan
    openml.table = table
    with pytest.raises(DataUnavailable, match="expected"):
        data.fetch(NAME, tmp_path)
    assert leftovers(tmp_path) == []


def test_the_real_files_can_be_rebuilt_from_openml_rows(openml):
    if not data.is_present(NAME):
        pytest.skip("Fashion-MNIST was not fetched")
    split = data.load(NAME)
    openml.table = SimpleNamespace(
        data=np.concatenate([split.train.inputs, split.test.inputs]).reshape(70_000, 784),
        target=np.concatenate([split.train.labels, split.test.labels]).astype(str).astype(object),
    )
    content = fashion_mnist._from_openml(split.source)
    for file in split.source.files:
        sources.check_bytes(file, content[file.name], file.name)


# Neither way


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"returncode": 100, "stderr": "W: harmless\nE: Unable to locate\n  package"}, "E: Unable to locate"),
        ({"returncode": 100, "stderr": ""}, "exit code 100"),
        ({"raises": subprocess.TimeoutExpired("apt-get", 1)}, "took more than"),
        ({"raises": PermissionError(13, "Permission denied")}, "Permission denied"),
        ({"deb": None}, "left no package"),
        ({"files": {}}, "No such file"),
    ],
)
def test_when_both_ways_fail_both_reasons_are_told(small, debian, openml, tmp_path, trouble, reason):
    for name, value in trouble.items():
        setattr(debian, name, value)
    with pytest.raises(DataUnavailable) as caught:
        data.fetch(NAME, tmp_path)
    message = str(caught.value)
    assert "Debian's apt-get: " in message
    assert reason in message
    assert "OpenML through scikit-learn: no route to host" in message
    assert "\n" not in message
    assert leftovers(tmp_path) == []


def test_programs_and_libraries_may_be_missing(small, debian, openml, tmp_path, monkeypatch):
    monkeypatch.setattr(clients.shutil, "which", lambda program: None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataUnavailable, match=r"apt-get is not installed\. .*pip install -c constraints.txt"):
        data.fetch(NAME, tmp_path)


# Interruption and unwritable places


@pytest.mark.parametrize("way", ["debian", "openml"])
def test_an_interrupted_fetch_leaves_nothing_behind(small, debian, openml, tmp_path, monkeypatch, way):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(fashion_mnist.tempfile, "tempdir", str(scratch))

    def interrupt(*_names, **_options):
        raise KeyboardInterrupt

    if way == "debian":
        debian.raises = KeyboardInterrupt()
    else:
        debian.returncode = 100
        monkeypatch.setattr("sklearn.datasets.fetch_openml", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.fetch(NAME, tmp_path)
    assert list(tmp_path.rglob("*")) == [scratch]


def test_a_full_disk_leaves_no_half_file(small, debian, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputUnwritable, match="No space left"):
        data.fetch(NAME, tmp_path)
    assert leftovers(tmp_path) == []


def test_a_file_in_the_folders_place(small, debian, tmp_path):
    (tmp_path / NAME).write_bytes(b"")
    with pytest.raises(OutputUnwritable, match="cannot create"):
        data.fetch(NAME, tmp_path)


# The real thing


def test_the_real_files():
    if not data.is_present(NAME):
        pytest.skip("Fashion-MNIST was not fetched")
    split = data.load(NAME)
    assert (split.train.inputs.shape, split.test.inputs.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert (np.bincount(split.train.labels) == 6000).all()
    assert (np.bincount(split.test.labels) == 1000).all()


@pytest.mark.slow
def test_apt_get_fetches_the_real_files(tmp_path):
    try:
        fashion_mnist.fetch(data.source(NAME), tmp_path / NAME, lambda _line: None)
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert states(tmp_path) == ["ok"] * 4


@pytest.mark.slow
def test_apt_get_fetches_with_lists_of_its_own_where_the_systems_are_empty(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "apt.conf").write_text(f'Dir::State::Lists "{tmp_path / "empty"}";')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    try:
        fashion_mnist.fetch(data.source(NAME), tmp_path / NAME, lambda _line: None)
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert states(tmp_path) == ["ok"] * 4


def test_pins_are_well_formed():
    source = data.source(NAME)
    for file, (_, shape) in zip(source.files, fashion_mnist._layout(source), strict=True):
        assert len(bytes.fromhex(file.sha256)) == 32
        assert file.size_bytes == 4 + 4 * len(shape) + np.prod(shape)
    assert replace(source, files=(DataFile("a", "b", 1),)).needs_fetch
