"""The vowels: what is made of the files, what is refused, and how pip is asked."""

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from ringfort import data
from ringfort.core.errors import BadData, DataUnavailable
from ringfort.data import DataFile, clients, registry, vowels


def utterance(speaker, frames, base):
    series = [",".join(f"{base + 10 * c + t:.1f}" for t in range(frames)) for c in range(12)]
    return ":".join([*series, speaker])


CONTENT = {
    "JapaneseVowels_TRAIN.ts": "\n".join(
        ["#comment", "@data", utterance("1", 7, 0), utterance("2", 9, 200), utterance("1", 6, 400), ""]
    ).encode(),
    "JapaneseVowels_TEST.ts": "\n".join(["@data", utterance("2", 6, 0)]).encode(),
}


@pytest.fixture
def small(monkeypatch):
    def pin(content):
        files = tuple(DataFile(name, hashlib.sha256(raw).hexdigest(), len(raw)) for name, raw in content.items())
        source = replace(vowels.VOWELS, files=files)
        monkeypatch.setitem(registry._ENTRIES, "vowels", replace(registry._ENTRIES["vowels"], source=source))

    pin(CONTENT)
    return pin


def store(folder, content=CONTENT):
    (folder / "vowels").mkdir(parents=True)
    for name, raw in content.items():
        (folder / "vowels" / name).write_bytes(raw)


def test_the_first_third_of_an_utterance_is_a_the_last_third_e(small, tmp_path):
    store(tmp_path)
    split = data.load("vowels", tmp_path)
    train = split.train
    assert train.owners.tolist() == ["1"] * 4 + ["2"] * 6 + ["1"] * 4
    assert train.labels.tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert train.inputs[:, 0].tolist() == [0, 1, 5, 6, 200, 201, 202, 206, 207, 208, 400, 401, 404, 405]
    assert train.inputs[1].tolist() == [1.0 + 10 * c for c in range(12)]
    assert (train.inputs.dtype, train.input_shape, len(split.test)) == (np.float32, (12,), 4)
    assert [len(part) for part in data.ByOwner()(train, None)] == [8, 6]


def test_an_utterance_without_twelve_series_is_refused(small, tmp_path):
    content = CONTENT | {"JapaneseVowels_TEST.ts": b"@data\n1,2,3:4,5,6:1\n"}
    small(content)
    store(tmp_path, content)
    with pytest.raises(BadData, match="2 series, not 12"):
        data.load("vowels", tmp_path)


def wheel_in(folder, content):
    with zipfile.ZipFile(folder / "aeon-1.6.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in content.items():
            archive.writestr(f"aeon/datasets/data/JapaneseVowels/{name}", raw)


def test_pip_is_asked_for_the_wheel_alone_and_installs_nothing(small, tmp_path, monkeypatch):
    asked = []

    def pip(command, *, cwd, **options):
        asked.append(command)
        wheel_in(cwd, CONTENT)
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(clients.subprocess, "run", pip)
    data.fetch("vowels", tmp_path)
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", "aeon==1.6.0"} <= set(asked[0])
    assert {path.name: path.read_bytes() for path in (tmp_path / "vowels").iterdir()} == CONTENT


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"JapaneseVowels_TRAIN.ts": CONTENT["JapaneseVowels_TRAIN.ts"]}, BadData, "no readable JapaneseVowels_TEST"),
        (CONTENT | {"JapaneseVowels_TEST.ts": bytes(30_000_000)}, BadData, "has 444 bytes|bytes, expected"),
        (CONTENT | {"JapaneseVowels_TEST.ts": b"x"}, BadData, "bytes, expected"),
        (None, DataUnavailable, "pip brought no package"),
        (b"no zip", BadData, "no readable"),
    ],
    ids=["missing", "bomb", "other", "nothing", "garbage"],
)
def test_what_pip_brings_wrong_is_refused_and_nothing_is_kept(small, tmp_path, monkeypatch, content, error, words):
    def pip(command, *, cwd, **options):
        if isinstance(content, bytes):
            (cwd / "aeon-1.6.0-py3-none-any.whl").write_bytes(content)
        elif content is not None:
            wheel_in(cwd, content)
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(clients.subprocess, "run", pip)
    with pytest.raises(error, match=words):
        data.fetch("vowels", tmp_path)
    assert not [path for path in Path(tmp_path).rglob("*") if path.is_file()]


@pytest.mark.slow
def test_the_real_vowels_are_what_their_source_says():
    if not data.is_present("vowels"):
        pytest.skip("ringfort data fetch vowels")
    split = data.load("vowels")
    assert (len(split.train), len(split.test)) == (split.source.n_train, split.source.n_test)
    assert sorted(set(split.train.owners)) == [str(i) for i in range(1, 10)]
    assert (np.bincount(split.train.labels) == 1340).all()
