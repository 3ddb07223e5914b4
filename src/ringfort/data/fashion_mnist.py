"""Fashion-MNIST: fetched once by Debian's apt-get or from OpenML, stored as plain IDX files, mapped when loaded.

Both ways end in the same bytes, and the same digests judge them. IDX is a header (two zero bytes, a type, the number
of axes, the length of each axis as a big-endian 32-bit number) and then the values.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import BadData, DataUnavailable, RingfortError
from ringfort.core.extras import extra
from ringfort.data.clients import one_line, run, store
from ringfort.data.sources import DataFile, DataSource, check_bytes, open_verified

__all__ = ["FASHION_MNIST", "fetch", "load"]

FASHION_MNIST = DataSource(
    name="fashion-mnist",
    title="Fashion-MNIST",
    task="Name the piece of clothing on a 28x28 grey picture.",
    n_train=60_000,
    n_test=10_000,
    input_shape=(1, 28, 28),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    licence="MIT",
    origin="Xiao, Rasul and Vollgraf 2017 (Zalando SE), arXiv:1708.07747; fetched from Debian's archive or OpenML.",
    files=(
        DataFile(
            "train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 47_040_016
        ),
        DataFile("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 60_008),
        DataFile(
            "t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 7_840_016
        ),
        DataFile("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 10_008),
    ),
)

_PACKAGE = "dataset-fashion-mnist"
_KNOWN_DEB = f"{_PACKAGE}_0.0~git20200523.55506a9-1_all.deb"
_KNOWN_DEB_SHA256 = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"
_UNSIGNED_BYTE = 0x08


def load(source: DataSource, folder: Path) -> tuple[Dataset, Dataset]:
    """The train and test parts, images as read-only (N, 1, 28, 28) uint8 mapped from verified files.

    Raises:
        DataUnavailable (RF106): a file is not there.
        BadData (RF703): a file does not have its pinned digest, or is not the IDX file it should be.
    """
    arrays = [_parse_idx(open_verified(folder, file), shape, file.name) for file, shape in _layout(source)]

    def part(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Dataset:
        return Dataset(source.name, images.reshape(-1, *source.input_shape), labels.astype(np.int64), source.classes)

    return part(*arrays[:2]), part(*arrays[2:])


def fetch(source: DataSource, folder: Path, say: Callable[[str], None]) -> None:
    """Put the four files into `folder`, from the first of two ways that delivers the pinned bytes.

    Guarantees:
        Nothing is written before all four files are in memory and verified; each is then written atomically.

    Raises:
        DataUnavailable (RF106): neither way worked; the message names both and says why.
        OutputUnwritable (RF107): the folder cannot be written.
    """
    store(source, folder, _obtain(source, say), say)


def _obtain(source: DataSource, say: Callable[[str], None]) -> dict[str, bytes]:
    """The files' verified bytes, by name."""
    failures = []
    for way, deliver in (("Debian's apt-get", _from_debian), ("OpenML through scikit-learn", _from_openml)):
        say(f"{source.name}: asking {way}")
        try:
            content = deliver(source)
            for file in source.files:
                check_bytes(file, content[file.name], file.name)
        except RingfortError as error:
            failures.append(f"{way}: {error.message}")
            say(f"{source.name}: {failures[-1]}")
        else:
            return content
    raise DataUnavailable(f"{source.name} could not be fetched. {'. '.join(failures)}")


def _from_debian(source: DataSource) -> dict[str, bytes]:
    """Download and unpack the Debian package in a temporary folder. Needs no root and installs nothing.

    A newer package than the known one is welcome: the files inside it have to pass the same pins.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ringfort-") as name:
            folder = Path(name)
            _download(folder)
            package = next(folder.glob(f"{_PACKAGE}_*.deb"), None)
            if package is None:
                raise DataUnavailable("apt-get left no package")
            digest = hashlib.sha256(package.read_bytes()).hexdigest()
            if package.name == _KNOWN_DEB and digest != _KNOWN_DEB_SHA256:
                raise BadData(f"{package.name} has sha256 {digest}, expected {_KNOWN_DEB_SHA256}")
            run("dpkg-deb", "--extract", package.name, "content", folder=folder)
            packed = folder / "content" / "usr" / "share" / "datasets" / source.name
            return {file.name: _gunzip(packed / f"{file.name}.gz", file.size_bytes) for file in source.files}
    except OSError as error:
        raise DataUnavailable(one_line(error)) from error


def _download(folder: Path) -> None:
    """Ask with the system's package lists; if they are empty or old, with fresh ones of our own, which need no root."""
    try:
        run("apt-get", "download", _PACKAGE, folder=folder)
    except DataUnavailable:
        for needed in ("lists/partial", "cache/archives/partial"):
            (folder / needed).mkdir(parents=True)
        own = ("-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}")
        run("apt-get", *own, "-o", "Debug::NoLocking=1", "update", folder=folder)
        run("apt-get", *own, "download", _PACKAGE, folder=folder)


def _gunzip(path: Path, size_bytes: int) -> bytes:
    """Unpack at most one byte more than expected, so that a bomb fails the size check and not the machine."""
    try:
        with gzip.open(path) as file:
            return file.read(size_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadData(f"{path.name} cannot be unpacked: {one_line(error)}") from error


def _from_openml(source: DataSource) -> dict[str, bytes]:
    """Rebuild the files from OpenML's 70,000 rows: the training part, then the test part."""
    with extra("data", "OpenML's rows need scikit-learn"):
        from sklearn.datasets import fetch_openml
    try:
        with tempfile.TemporaryDirectory(prefix="ringfort-") as cache, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one per retry; the error says enough
            table = fetch_openml(source.title, version=1, as_frame=False, parser="liac-arff", data_home=cache)
            images, labels = table.data.astype(np.uint8), table.target.astype(np.uint8)
    except Exception as error:  # whatever goes wrong in a network library is one reason more, not a crash
        raise DataUnavailable(one_line(error)) from error
    n = source.n_train
    return {
        file.name: _idx_header(shape) + rows.tobytes()
        for (file, shape), rows in zip(_layout(source), (images[:n], labels[:n], images[n:], labels[n:]), strict=True)
    }


def _layout(source: DataSource) -> Iterator[tuple[DataFile, tuple[int, ...]]]:
    """Each file with the shape it holds: images and labels to train on, then to test on."""
    pixels = source.input_shape[1:]
    shapes = ((source.n_train, *pixels), (source.n_train,), (source.n_test, *pixels), (source.n_test,))
    return zip(source.files, shapes, strict=True)


def _idx_header(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, _UNSIGNED_BYTE, len(shape), *shape)


def _parse_idx(content: NDArray[np.uint8], shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    header = _idx_header(shape)
    values = content[len(header) :]
    if content[: len(header)].tobytes() != header or values.size != np.prod(shape):
        raise BadData(f"{name} is not an IDX file of unsigned bytes of shape {shape}")
    return values.reshape(shape)
