"""Files that are either whole or not there, and JSON with one spelling."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ringfort.core.errors import OutputUnwritable
from ringfort.core.failpoints import failpoint

__all__ = ["canonical_json", "sync_folder", "write_atomic"]


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN: equal values give equal bytes.

    >>> canonical_json({"b": 1, "a": [1.5]})
    b'{"a":[1.5],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that readers, and a crash at any moment, see the old one or the new one, never half.

    Raises:
        OutputUnwritable (RF107): no permission, no space, no such folder. The old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            failpoint("file.written")
            os.fsync(file.fileno())
        failpoint("file.synced")
        temporary.replace(path)
        failpoint("file.renamed")
        sync_folder(path.parent)
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
