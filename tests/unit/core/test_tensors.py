import hashlib
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from ringfort.core import Schema
from ringfort.core.errors import InvalidValue, MalformedUpdate
from ringfort.core.tensors import digest_of

SHAPES = [
    {"w": (3,)},
    {"scalar": ()},
    {"empty": (0, 4), "b": (2,)},
    {"layer00.weight": (4, 3), "layer00.bias": (3,), "layer10.bias": (1,), "layer2.bias": (2,)},
    {"": (1,), 'q"\\': (2,), "tab\t\x1f\x7f": (1,), "été-😀": (1, 1), "\u2028": (1,)},
]
shapes = pytest.mark.parametrize("shapes", SHAPES, ids=lambda s: ascii("+".join(s)))


def numbers(schema, seed=0):
    return np.random.default_rng(seed).standard_normal(schema.d).astype(np.float32)


@shapes
def test_a_vector_survives_the_round_trip_bit_for_bit(shapes):
    schema = Schema.of(shapes)
    flat = numbers(schema)
    assert schema.decode(schema.encode(flat)).tobytes() == flat.tobytes()


@shapes
def test_the_encoding_is_byte_for_byte_what_the_safetensors_library_writes(shapes):
    schema = Schema.of(shapes)
    flat = numbers(schema)
    library = safetensors.numpy.save({name: part.copy() for name, part in schema.views(flat).items()})
    assert schema.encode(flat) == library
    assert schema.decode(library).tobytes() == flat.tobytes()


@shapes
def test_the_safetensors_library_reads_our_bytes_back_as_the_same_tensors(shapes):
    schema = Schema.of(shapes)
    flat = numbers(schema)
    read = safetensors.numpy.load(schema.encode(flat))
    assert {name: value.shape for name, value in read.items()} == shapes
    for name, part in schema.views(flat).items():
        assert np.array_equal(read[name], part)


def test_tensors_lie_in_the_order_of_their_names_whatever_order_they_were_given_in():
    one, two = Schema.of({"b": (2,), "a": (3,)}), Schema.of({"a": (3,), "b": (2,)})
    assert one == two
    assert one.slices == {"a": slice(0, 3), "b": slice(3, 5)}
    assert one.digest == two.digest == hashlib.sha256(one.header).hexdigest()


def test_views_are_windows_on_the_flat_vector_and_not_copies():
    schema = Schema.of({"a": (2, 2), "b": (1,)})
    flat = np.zeros(5, np.float32)
    schema.views(flat)["a"][1, 0] = 7
    assert flat.tolist() == [0, 0, 7, 0, 0]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview], ids=lambda k: k.__name__)
def test_a_decoded_vector_cannot_be_written_even_if_its_buffer_can(kind):
    schema = Schema.of({"a": (2,)})
    flat = schema.decode(kind(schema.encode(np.ones(2, np.float32))))
    with pytest.raises(ValueError, match="read-only"):
        flat[0] = 2


def test_decoding_makes_no_copy():
    schema = Schema.of({"a": (250_000,)})
    body = schema.encode(np.ones(schema.d, np.float32))
    schema.decode(body)
    tracemalloc.start()
    flat = schema.decode(body)
    assert tracemalloc.get_traced_memory()[1] < 20_000
    tracemalloc.stop()
    assert flat.sum() == schema.d


@pytest.mark.parametrize(
    "flat",
    [np.zeros(3, np.float32), np.zeros(2, np.float64), np.zeros((2, 1), np.float32), np.zeros(2, np.int32)],
    ids=["length", "float64", "matrix", "int32"],
)
def test_only_a_float32_vector_of_the_schemas_length_is_encoded(flat):
    with pytest.raises(InvalidValue, match="float32"):
        Schema.of({"a": (2,)}).encode(flat)


def test_a_strided_vector_is_encoded_like_its_copy():
    schema = Schema.of({"a": (4,)})
    long = np.arange(8, dtype=np.float32)
    assert schema.encode(long[::2]) == schema.encode(long[::2].copy())


@pytest.mark.parametrize(
    "tensors",
    [(), (("a", (1,)), ("a", (2,))), (("b", (1,)), ("a", (1,))), (("a", (2, -1)),), (("__metadata__", (1,)),)],
    ids=["none", "twice", "unsorted", "negative", "reserved name"],
)
def test_a_schema_that_has_no_encoding_cannot_be_made(tensors):
    with pytest.raises(InvalidValue):
        Schema(tensors)


def claims(length, text=b"{}"):
    return length.to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "body",
    [
        claims(64 << 30),
        claims((1 << 64) - 1),
        claims(100, b'{"a":{"dtype":"F32","shape":[17179869184],"data_offsets":[0,68719476736]}}'.ljust(100)),
        claims(100, b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,68719476736]}}'.ljust(100)),
    ],
    ids=["header of 64 GB", "header of 2**64", "tensor of 64 GB", "offsets of 64 GB"],
)
def test_nothing_is_allocated_for_what_a_header_merely_claims(body):
    schema = Schema.of({"a": (2,)})
    tracemalloc.start()
    with pytest.raises(MalformedUpdate):
        schema.decode(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_refusal_never_repeats_the_strangers_names():
    schema = Schema.of({"a": (1,)})
    stranger = Schema.of({"\x1b[31mowned\x1b[0m": (1,)})
    with pytest.raises(MalformedUpdate) as caught:
        schema.decode(stranger.encode(np.zeros(1, np.float32)))
    assert "owned" not in str(caught.value)
    assert caught.value.reason == "keys"


def test_a_digest_is_what_sha256sum_prints():
    assert digest_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
