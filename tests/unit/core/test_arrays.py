import cbor2
import numpy as np
import pytest

from ringfort.core.arrays import decode_arrays, encode_arrays
from ringfort.core.errors import BadCheckpoint

ARRAYS = {
    "b/floats": np.array([[1.5, -0.0], [np.inf, 3e-45]], np.float32),
    "a": np.arange(3),
    "empty": np.zeros((0, 4)),
    "yes": np.array([True, False]),
    "one": np.array(7, np.uint64),
}


def test_arrays_come_back_as_they_were():
    back = decode_arrays(encode_arrays(ARRAYS))
    assert set(back) == set(ARRAYS)
    for name, values in ARRAYS.items():
        assert back[name].dtype == values.dtype
        assert np.array_equal(back[name], values)
        assert not back[name].flags.writeable


def test_equal_arrays_give_equal_bytes_whatever_their_order_and_layout():
    turned = {n: np.asfortranarray(v) if v.ndim else v for n, v in reversed(ARRAYS.items())}
    assert encode_arrays(turned) == encode_arrays(ARRAYS)
    assert encode_arrays({"a": np.arange(3, dtype=">i8")}) == encode_arrays({"a": np.arange(3)})


def test_nothing_is_no_bytes():
    assert encode_arrays({}) == b""
    assert decode_arrays(b"") == {}


@pytest.mark.parametrize("values", [np.array(["text"]), np.array([object()], dtype=object), np.array([1j])])
def test_what_is_no_plain_number_is_not_saved(values):
    with pytest.raises(TypeError, match="plain number"):
        encode_arrays({"a": values})


@pytest.mark.parametrize(
    "data",
    [
        b"garbage",
        b"\xff",
        cbor2.dumps([1, 2]),
        cbor2.dumps({"a": 1}),
        cbor2.dumps({"a": ["O", [1], b"12345678"]}),
        cbor2.dumps({"a": ["<f4", [2], b"1234"]}),
        cbor2.dumps({"a": ["<f4", [-1], b"1234"]}),
        cbor2.dumps({"a": ["<f4", "x", b"1234"]}),
        encode_arrays(ARRAYS)[:-3],
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(BadCheckpoint):
        decode_arrays(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\xd8\x24\x61x",  # a MIME message, which answers to .items()
        b"\xd8\x23\x63(((",  # a regular expression
        b"\xa1\x61a\xd8\x1c\x83\x63<f4\x81\x01\x44abcd",  # a shared reference
        b"\xbf\xff",
        encode_arrays({"a": np.arange(3)}) + b"x",
        cbor2.dumps({"a": ["|b1", [1], b"\x07"]}),
        cbor2.dumps({1: ["<f4", [1], b"abcd"]}),
        cbor2.dumps({"a": ["<f4", [True], b"abcd"]}),
        cbor2.dumps({"a": ["<f4", [2**64, 0], b""]}),
        cbor2.dumps({"a": ["<f4", [-1, -1], b"abcd"]}),
        b"\xa2" + 2 * cbor2.dumps({"a": ["<f4", [1], b"abcd"]})[1:],
        b"\x81" * 100_000 + b"\x00",
    ],
    ids=lambda data: data[:12].hex(),
)
def test_only_plain_arrays_are_read_and_nothing_that_cbor_can_name_beside_them(data):
    with pytest.raises(BadCheckpoint):
        decode_arrays(data)
