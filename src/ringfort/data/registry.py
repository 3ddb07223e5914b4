"""The data sets that Ringfort knows by name: list, fetch, verify, load. What is not verified is not loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ringfort.core.dataset import Dataset
from ringfort.core.errors import BadData, DataUnavailable, MissingExtra, UnknownName
from ringfort.data import bundled, fashion_mnist, speeches, vowels
from ringfort.data.extras import has_sklearn
from ringfort.data.sources import Check, DataSource, Split, open_verified

__all__ = ["data_folder", "fetch", "is_present", "load", "names", "source", "verify"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    source: DataSource
    load: Callable[[DataSource, Path], tuple[Dataset, Dataset]]
    fetch: Callable[[DataSource, Path, Say], None] | None = None


_ENTRIES = {
    entry.source.name: entry
    for entry in (
        _Entry(bundled.BREAST_CANCER, bundled.load_breast_cancer),
        _Entry(bundled.DIGITS, bundled.load_digits),
        _Entry(fashion_mnist.FASHION_MNIST, fashion_mnist.load, fashion_mnist.fetch),
        _Entry(speeches.SPEECHES, speeches.load, speeches.fetch),
        _Entry(vowels.VOWELS, vowels.load, vowels.fetch),
    )
}


def data_folder() -> Path:
    """Where fetched data lives: $RINGFORT_DATA, else $XDG_DATA_HOME/ringfort/data, else ~/.local/share/ringfort/data.

    Raises:
        DataUnavailable (RF106): neither variable is set, and the user has no home folder.
    """
    if chosen := os.environ.get("RINGFORT_DATA"):
        return Path(chosen)
    shared = Path(os.environ.get("XDG_DATA_HOME", ""))
    try:
        # The XDG specification: a relative path is invalid and is ignored.
        base = shared if shared.is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise DataUnavailable("there is no home folder to keep data in: set RINGFORT_DATA") from error
    return base / "ringfort" / "data"


def names() -> tuple[str, ...]:
    """The registered names, in order.

    >>> names()
    ('breast-cancer', 'digits', 'fashion-mnist', 'speeches', 'vowels')
    """
    return tuple(sorted(_ENTRIES))


def source(name: str) -> DataSource:
    """What is known about a data set without loading it.

    Raises:
        UnknownName (RF101): no such data set; the message suggests one.

    >>> source("digits").input_shape
    (1, 8, 8)
    """
    return _entry(name).source


def load(name: str, folder: Path | None = None) -> Split:
    """Load a data set, after verifying it.

    Args:
        name: a registered name.
        folder: where fetched data lives; `data_folder()` by default. Packaged data sets ignore it.

    Guarantees:
        The same name gives the same bits on every machine: files and packaged arrays are compared with pinned digests.
        Fetched inputs are read-only and mapped from disk, so loading costs one pass of hashing and no copy.

    Raises:
        UnknownName (RF101): no such data set.
        MissingExtra (RF105): scikit-learn is needed and not installed.
        DataUnavailable (RF106): it was not fetched yet.
        BadData (RF703): what is there does not have the pinned digest.
    """
    entry = _entry(name)
    try:
        train, test = entry.load(entry.source, _place(entry.source, folder))
    except DataUnavailable as error:
        raise DataUnavailable(f"{error.message}: run `ringfort data fetch {name}`") from error
    return Split(train, test, entry.source)


def fetch(name: str, folder: Path | None = None, say: Say = lambda _line: None) -> None:
    """Bring a data set to this machine, unless it is here already and every digest is right.

    Args:
        name: a registered name.
        folder: where fetched data lives; `data_folder()` by default.
        say: is called with one line for each step.

    Guarantees:
        Afterwards `load` finds verified data. What is there but wrong is replaced. Nothing is left half-written.

    Raises:
        UnknownName (RF101): no such data set.
        MissingExtra (RF105): the data set comes with scikit-learn, which is not installed.
        DataUnavailable (RF106): no way to fetch it works here; the message says why for each.
        OutputUnwritable (RF107): the folder cannot be written.
        BadData (RF703): scikit-learn's copy of a packaged data set is not the pinned one.
    """
    entry = _entry(name)
    if entry.fetch is None:
        load(name)
        say(f"{name}: comes with scikit-learn, nothing to fetch")
    elif all(check.ok for check in verify(name, folder)):
        say(f"{name}: already here, every digest is right")
    else:
        entry.fetch(entry.source, _place(entry.source, folder), say)


def verify(name: str, folder: Path | None = None) -> tuple[Check, ...]:
    """Compare what is on this machine with the pinned digests: one check per file, or one for packaged arrays.

    Raises:
        UnknownName (RF101): no such data set. Missing and wrong data do not raise: the checks say so.
    """
    known = source(name)
    if not known.needs_fetch:
        return (_check("arrays", partial(load, name)),)
    place = _place(known, folder)
    return tuple(_check(file.name, partial(open_verified, place, file)) for file in known.files)


def is_present(name: str, folder: Path | None = None) -> bool:
    """Whether `load` has something to load. Cheap: looks for files of the right size, or for scikit-learn.

    Does not protect against: damaged or edited contents. `verify` and `load` look at those.

    Raises:
        UnknownName (RF101): no such data set.
    """
    known = source(name)
    if not known.needs_fetch:
        return has_sklearn()
    place = _place(known, folder)
    return all(_size_bytes(place / file.name) == file.size_bytes for file in known.files)


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise UnknownName.of("data set", name, _ENTRIES)
    return _ENTRIES[name]


def _place(known: DataSource, folder: Path | None) -> Path:
    if not known.needs_fetch:
        return Path()  # inside a package: works without a home folder
    return (data_folder() if folder is None else folder) / known.name


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _check(item: str, open_it: Callable[[], object]) -> Check:
    try:
        open_it()
    except BadData as error:
        return Check(item, "wrong digest", error.message)
    except (DataUnavailable, MissingExtra) as error:
        return Check(item, "missing", error.message)
    return Check(item, "ok")
