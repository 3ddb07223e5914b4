"""An archive that asks for more memory than there is, and archives that are none."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ringfort.core.errors import InvalidValue
from ringfort.data.npz import read_npz

PATH = Path("rows.npz")


def archive(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


GOOD = archive(inputs=np.zeros((2, 3)), labels=np.array([0, 1]))


def test_rows_come_as_they_are():
    rows = read_npz(io.BytesIO(GOOD), PATH)
    assert (rows.name, len(rows), rows.classes) == ("rows", 2, ("0", "1"))
    assert rows.inputs.dtype == np.float32


def lying():
    """A member whose header claims 64 GB and whose directory entry agrees."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as parts:
        header = io.BytesIO()
        shape = {"descr": "<f4", "fortran_order": False, "shape": (1 << 34,)}
        np.lib.format.write_array_header_1_0(header, shape)
        parts.writestr("inputs.npy", header.getvalue())
    data = bytearray(out.getvalue())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFE)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04" + bytes(40),
        GOOD[:-30],
        GOOD[:60] + b"\xff" * 20 + GOOD[80:],
        lying(),
        archive(inputs=np.zeros((2, 3)), labels=np.array([0, 10**15])),
        archive(inputs=np.array([[{}]], dtype=object), labels=np.array([0])),
        archive(inputs=np.zeros(3), labels=np.array([0, 1, 2])),
    ],
    ids=["empty", "not a zip", "cut", "damaged", "lying", "labels without end", "objects", "flat"],
)
def test_what_is_no_archive_of_rows_is_refused(data):
    with pytest.raises(InvalidValue):
        read_npz(io.BytesIO(data), PATH)


def test_an_archive_that_says_it_holds_too_much_is_not_unpacked(monkeypatch):
    monkeypatch.setattr("ringfort.data.npz._MOST_BYTES", 100)
    with pytest.raises(InvalidValue, match="holds more than"):
        read_npz(io.BytesIO(GOOD), PATH)
