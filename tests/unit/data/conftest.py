"""A ten-picture Fashion-MNIST with its own pins, and a Debian that serves it without a network."""

import gzip
import hashlib
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from ringfort.data import DataFile, DataSource, clients, fashion_mnist, registry

N_TRAIN, N_TEST, SHAPE = 6, 4, (1, 3, 2)


@dataclass(frozen=True)
class Small:
    source: DataSource
    content: dict[str, bytes]
    images: np.ndarray
    labels: np.ndarray

    def store(self, folder: Path) -> Path:
        place = folder / self.source.name
        place.mkdir(parents=True)
        for name, content in self.content.items():
            (place / name).write_bytes(content)
        return place


@pytest.fixture
def small(monkeypatch):
    generator = np.random.default_rng(5)
    images = generator.integers(0, 256, (N_TRAIN + N_TEST, *SHAPE), dtype=np.uint8)
    labels = generator.integers(0, 10, N_TRAIN + N_TEST, dtype=np.uint8)

    def idx(array):
        return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

    parts = (images[:N_TRAIN, 0], labels[:N_TRAIN], images[N_TRAIN:, 0], labels[N_TRAIN:])
    content = {file.name: idx(part) for file, part in zip(fashion_mnist.FASHION_MNIST.files, parts, strict=True)}
    files = tuple(DataFile(name, hashlib.sha256(raw).hexdigest(), len(raw)) for name, raw in content.items())
    source = replace(fashion_mnist.FASHION_MNIST, n_train=N_TRAIN, n_test=N_TEST, input_shape=SHAPE, files=files)
    entry = replace(registry._ENTRIES["fashion-mnist"], source=source)
    monkeypatch.setitem(registry._ENTRIES, "fashion-mnist", entry)
    return Small(source, content, images, labels)


@dataclass
class Debian:
    """Stands in for subprocess.run: `files` are what the package holds, still packed."""

    files: dict[str, bytes] = field(default_factory=dict)
    deb: str | None = "dataset-fashion-mnist_9_all.deb"
    stderr: str = ""
    returncode: int = 0
    raises: BaseException | None = None
    calls: list = field(default_factory=list)

    def __call__(self, command, *, cwd, **options):
        self.calls.append((command, options))
        if self.raises is not None:
            raise self.raises
        program = Path(command[0]).name
        if self.returncode == 0 and program == "apt-get" and self.deb:
            (cwd / self.deb).write_bytes(b"a package")
        if program == "dpkg-deb":
            packed = cwd / "content/usr/share/datasets/fashion-mnist"
            packed.mkdir(parents=True)
            for name, content in self.files.items():
                (packed / f"{name}.gz").write_bytes(content)
        return CompletedProcess(command, self.returncode, "", self.stderr)


@pytest.fixture
def debian(small, monkeypatch):
    fake = Debian({name: gzip.compress(content) for name, content in small.content.items()})
    monkeypatch.setattr(clients.subprocess, "run", fake)
    monkeypatch.setattr(clients.shutil, "which", lambda program: f"/bin/{program}")
    return fake


@pytest.fixture
def openml(monkeypatch):
    """Stands in for fetch_openml: offline until a test gives it a table."""
    datasets = pytest.importorskip("sklearn.datasets")

    class OpenML:
        table = None
        options = None

        def __call__(self, *names, **options):
            self.options = names, options
            if self.table is None:
                raise OSError("no route to host")
            return self.table

    fake = OpenML()
    monkeypatch.setattr(datasets, "fetch_openml", fake)
    return fake
