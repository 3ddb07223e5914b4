import subprocess
import sys

import numpy as np
import pytest

from ringfort import data
from ringfort.core import Seeds
from ringfort.core.errors import BadData, DataUnavailable, MissingExtra, UnknownName
from ringfort.data import bundled, extras, registry

PACKAGED = ("breast-cancer", "digits")


def test_names_are_registered_under_themselves():
    assert data.names() == ("breast-cancer", "digits", "fashion-mnist", "speeches", "vowels")
    for name in data.names():
        known = data.source(name)
        assert known.name == name
        assert known.kind == "real"
        assert known.needs_fetch == (name not in PACKAGED)


@pytest.mark.parametrize("call", [data.source, data.load, data.fetch, data.verify, data.is_present])
def test_unknown_name_gets_a_suggestion(call):
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        call("digit")


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_data_is_what_its_source_says(name):
    pytest.importorskip("sklearn")
    split = data.load(name)
    for part, n_rows in ((split.train, split.source.n_train), (split.test, split.source.n_test)):
        assert len(part) == n_rows
        assert part.inputs.dtype == np.float32
        assert part.input_shape == split.source.input_shape
        assert part.classes == split.source.classes
        assert np.isfinite(part.inputs).all()
        assert set(part.labels) == set(range(len(part.classes)))
    assert split.digests() == data.load(name).digests()
    assert [check.item for check in data.verify(name)] == ["arrays"]
    assert all(check.ok for check in data.verify(name))
    assert data.is_present(name)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_split_is_stratified_and_shares_no_row(name):
    pytest.importorskip("sklearn")
    split = data.load(name)
    whole = np.bincount(split.train.labels) + np.bincount(split.test.labels)
    assert (np.bincount(split.test.labels) == np.round(whole / 5)).all()
    rows = np.concatenate([split.train.inputs, split.test.inputs]).reshape(whole.sum(), -1)
    assert len(np.unique(rows, axis=0)) == whole.sum()


def test_digits_are_scaled():
    pytest.importorskip("sklearn")
    inputs = data.load("digits").train.inputs
    assert (inputs.min(), inputs.max()) == (0, 1)
    assert (inputs * 16 == np.round(inputs * 16)).all()


def test_breast_cancer_is_standardised_by_its_training_part_only():
    pytest.importorskip("sklearn")
    split = data.load("breast-cancer")
    np.testing.assert_allclose(split.train.inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(split.train.inputs.std(axis=0), 1, atol=1e-5)
    assert abs(split.test.inputs.mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize("name", PACKAGED)
def test_fetching_packaged_data_says_that_there_is_nothing_to_do(name):
    pytest.importorskip("sklearn")
    said = []
    data.fetch(name, say=said.append)
    assert said == [f"{name}: comes with scikit-learn, nothing to fetch"]


def test_another_copy_in_scikit_learn_is_refused(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(bundled, "_SPLIT_SEEDS", Seeds(1))
    with pytest.raises(BadData, match="pinned"):
        data.load("digits")
    with pytest.raises(BadData):
        data.fetch("digits")
    (check,) = data.verify("digits")
    assert (check.state, check.ok) == ("wrong digest", False)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_damaged_copy_in_scikit_learn_is_bad_data(monkeypatch, tmp_path, name):
    (tmp_path / "file.csv").write_text("1,2\n3\n")
    monkeypatch.setattr(bundled, "sklearn_file", lambda file: tmp_path / "file.csv")
    with pytest.raises(BadData):
        data.load(name)


def test_packaged_data_is_read_without_importing_scikit_learn():
    pytest.importorskip("sklearn")
    code = "import sys; from ringfort import data; data.load('digits'); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    for call in (data.load, data.fetch):
        with pytest.raises(MissingExtra, match=r"pip install -c constraints.txt 'ringfort\[data\]'"):
            call("digits")
    assert data.verify("digits")[0].state == "missing"
    assert not data.is_present("digits")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RINGFORT_DATA": "/somewhere", "XDG_DATA_HOME": "/xdg"}, "/somewhere"),
        ({"XDG_DATA_HOME": "/xdg"}, "/xdg/ringfort/data"),
        ({"XDG_DATA_HOME": "relative"}, "/home/ada/.local/share/ringfort/data"),
        ({"XDG_DATA_HOME": "", "RINGFORT_DATA": ""}, "/home/ada/.local/share/ringfort/data"),
        ({}, "/home/ada/.local/share/ringfort/data"),
    ],
)
def test_data_folder(monkeypatch, variables, expected):
    for name in ("RINGFORT_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(data.data_folder()) == expected


def test_without_a_home_only_fetched_data_needs_a_folder(monkeypatch):
    pytest.importorskip("sklearn")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("RINGFORT_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry.Path, "home", homeless)
    assert len(data.load("digits").test) == 359
    with pytest.raises(DataUnavailable, match="set RINGFORT_DATA"):
        data.load("fashion-mnist")
