"""Japanese Vowels: frames of nine speakers saying a and then e, one client per speaker.

Fetched once by pip as part of the package that carries them; only the two data files are kept. The format is sktime's
.ts: comments (#), a header (@), then one utterance a line, twelve series joined by colons and the speaker's number.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import BadData, DataUnavailable
from ringfort.core.values import F32
from ringfort.data.clients import one_line, run, store
from ringfort.data.sources import DataFile, DataSource, check_bytes, open_verified

__all__ = ["VOWELS", "fetch", "load"]

_COEFFICIENTS: Final = 12

VOWELS = DataSource(
    name="vowels",
    title="Japanese vowels by nine speakers",
    task="Tell a spoken a from a spoken e by one frame of twelve cepstral coefficients.",
    n_train=2_680,
    n_test=3_540,
    input_shape=(_COEFFICIENTS,),
    classes=("a", "e"),
    licence="CC BY 4.0 (UCI), in a BSD-3-Clause package",
    origin="Kudo, Toyama and Shimbo 1999, UCI Japanese Vowels; fetched from PyPI (aeon).",
    files=(
        DataFile(
            "JapaneseVowels_TRAIN.ts", "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd", 487_971
        ),
        DataFile("JapaneseVowels_TEST.ts", "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462", 649_132),
    ),
)

_PACKAGE: Final = "aeon==1.6.0"
_INSIDE: Final = "aeon/datasets/data/JapaneseVowels"


def load(source: DataSource, folder: Path) -> tuple[Dataset, Dataset]:
    """The train and test parts: (N, 12) float32, owners are the speakers "1" to "9".

    The recordings say a, then e, without saying when. The first third of an utterance's frames stands for a, the last
    third for e; the middle is left out.

    Raises:
        DataUnavailable (RF106): a file is not there.
        BadData (RF703): a file is not the pinned one.
    """
    train, test = (_frames(open_verified(folder, file), source) for file in source.files)
    return train, test


def fetch(source: DataSource, folder: Path, say: Callable[[str], None]) -> None:
    """Put the two files into `folder`. The package is neither installed nor run.

    Raises:
        DataUnavailable (RF106): pip is not there, or brought nothing; the message says why.
        BadData (RF703): it brought something else.
        OutputUnwritable (RF107): the folder cannot be written.
    """
    say(f"{source.name}: asking pip")
    try:
        with tempfile.TemporaryDirectory(prefix="ringfort-") as name:
            quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
            download = ("-m", "pip", "download", "--no-deps", "--only-binary", ":all:", *quiet, _PACKAGE)
            run(sys.executable, *download, folder=Path(name))
            wheel = next(Path(name).glob("aeon-*.whl"), None)
            if wheel is None:
                raise DataUnavailable("pip brought no package")
            content = {file.name: _unzipped(wheel, file) for file in source.files}
    except OSError as error:
        raise DataUnavailable(f"pip brought no package ({one_line(error)})") from error
    for file in source.files:
        check_bytes(file, content[file.name], file.name)
    store(source, folder, content, say)


def _unzipped(wheel: Path, file: DataFile) -> bytes:
    """At most one byte more than expected, so that a bomb fails the size check and not the machine."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(f"{_INSIDE}/{file.name}") as packed:
            return packed.read(file.size_bytes + 1)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadData(f"{wheel.name} has no readable {file.name}: {one_line(error)}") from error


def _frames(content: NDArray[np.uint8], source: DataSource) -> Dataset:
    frames: list[F32] = []
    labels: list[int] = []
    owners: list[str] = []
    for line in content.tobytes().decode("ascii").splitlines():
        if not line or line[0] in "#@":
            continue
        *series, speaker = line.strip().split(":")
        utterance = np.array([one.split(",") for one in series], dtype=np.float32)
        if utterance.shape[0] != _COEFFICIENTS:
            raise BadData(f"{source.name}: an utterance has {utterance.shape[0]} series, not {_COEFFICIENTS}")
        third = utterance.shape[1] // 3
        for label, part in ((0, utterance[:, :third]), (1, utterance[:, -third:])):
            frames.append(part.T)
            labels += [label] * third
            owners += [speaker] * third
    return Dataset(source.name, np.concatenate(frames), np.array(labels, np.int64), source.classes, np.array(owners))
