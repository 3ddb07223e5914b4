"""Whatever the bytes: they decode to exactly what was encoded, or raise MalformedUpdate; nothing else, and cheaply."""

import json
import string
import tracemalloc

import cbor2
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ringfort.core import Schema
from ringfort.core.errors import MalformedUpdate
from ringfort.core.wire import Broadcast, encode_update, open_frame, verify_body

calm = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

SCHEMA = Schema.of({"bias": (2,), "weight": (2, 3)})
VALUES = np.arange(8, dtype=np.float32) - 3
BODY = SCHEMA.encode(VALUES)
BROADCAST = Broadcast.encode("run-1", 7, BODY)
TO = Broadcast.decode(BROADCAST, SCHEMA)
UPDATE = encode_update("ada", TO, VALUES, 120, SCHEMA)

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=12).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
schemas = st.dictionaries(names, shapes, min_size=1, max_size=5).map(Schema.of)


@st.composite
def encoded(draw):
    schema = draw(schemas)
    bits = draw(arrays.arrays(np.uint32, schema.d))
    return schema, bits.view(np.float32)


@calm
@given(encoded())
def test_every_bit_pattern_survives_the_round_trip(pair):
    schema, flat = pair
    assert schema.decode(schema.encode(flat)).tobytes() == flat.tobytes()


@calm
@given(encoded())
def test_our_bytes_are_the_safetensors_librarys_bytes_both_ways(pair):
    schema, flat = pair
    ours = schema.encode(flat)
    assert safetensors.numpy.save({name: part.copy() for name, part in schema.views(flat).items()}) == ours
    for name, part in safetensors.numpy.load(ours).items():
        assert part.tobytes() == schema.views(flat)[name].tobytes()


REASONS = {"frame", "size", "header", "keys", "dtype", "shape", "layout", "digest"}


def read(frame):
    """(header, values) of an update, or None if it is refused. Anything but MalformedUpdate escapes and fails."""
    try:
        header, body = open_frame(frame, "update", max_body_bytes=SCHEMA.encoded_bytes)
        flat = SCHEMA.decode(body)
        verify_body(header, body)
    except MalformedUpdate as error:
        if error.reason in REASONS and error.message.isprintable() and len(error.message) < 250:
            return None
        raise
    return header, flat.tobytes()


WHOLE = read(UPDATE)


@calm
@given(st.binary(max_size=600))
@example(b"RFW1")
@example(b"RFW1\x00\x00\x00\x01\xa0")
def test_arbitrary_bytes_are_refused(data):
    assert read(data) is None


@calm
@given(st.binary(max_size=300))
def test_arbitrary_bytes_for_a_header_are_refused(header):
    assert read(b"RFW1" + len(header).to_bytes(4, "big") + header + BODY) is None


@calm
@given(st.binary(max_size=300))
def test_arbitrary_bytes_for_tensors_are_refused(data):
    with pytest.raises(MalformedUpdate):
        SCHEMA.decode(data)


json_text = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=4) | st.just("F32"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["bias", "weight", "dtype", "shape", "data_offsets", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@calm
@given(json_text, st.binary(max_size=40))
def test_any_json_for_a_tensor_header_is_refused_with_a_reason(value, data):
    text = json.dumps(value).encode()
    with pytest.raises(MalformedUpdate) as caught:
        SCHEMA.decode(len(text).to_bytes(8, "little") + text + data)
    assert caught.value.reason in {"size", "header", "keys", "dtype", "shape", "layout"}


@pytest.mark.parametrize("frame", [UPDATE, BROADCAST], ids=["update", "broadcast"])
def test_every_truncation_is_refused(frame):
    for length in range(len(frame)):
        assert read(frame[:length]) is None


@given(st.integers(0, len(UPDATE) - 1), st.integers(1, 255))
@settings(calm, max_examples=250)
def test_a_byte_changed_anywhere_gives_a_refusal_or_another_claim_but_never_other_values(place, change):
    mutated = bytearray(UPDATE)
    mutated[place] ^= change
    got = read(bytes(mutated))
    if got is not None:
        header, flat = got
        assert flat == WHOLE[1], "other values passed under the same digest"
        assert header != WHOLE[0], "a changed byte was not noticed"


def test_every_single_bit_of_the_tensors_is_under_the_digest():
    start = len(UPDATE) - len(BODY)
    for place in range(start, len(UPDATE)):
        for bit in range(8):
            mutated = bytearray(UPDATE)
            mutated[place] ^= 1 << bit
            assert read(bytes(mutated)) is None


@calm
@given(st.integers(0, len(UPDATE)), st.binary(min_size=1, max_size=30))
def test_bytes_put_in_anywhere_never_change_the_values(place, more):
    got = read(UPDATE[:place] + more + UPDATE[place:])
    assert got is None or got[1] == WHOLE[1]


cbor_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=40) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = cbor2.loads(UPDATE[8 : 8 + int.from_bytes(UPDATE[4:8], "big")])


@calm
@given(st.sampled_from(sorted(FIELDS)), cbor_values)
def test_a_field_of_any_other_kind_of_value_is_refused(name, value):
    header = cbor2.dumps({**FIELDS, name: value}, canonical=True)
    got = read(b"RFW1" + len(header).to_bytes(4, "big") + header + BODY)
    if got is not None:
        assert type(value) is type(FIELDS[name])
        shown = value.hex() if isinstance(value, bytes) else value
        assert getattr(got[0], name) == shown


@calm
@given(st.integers(0, 7), st.integers(0, 2**64 - 1), st.integers(24, 27), st.binary(max_size=20))
def test_a_header_that_claims_any_size_costs_less_than_a_megabyte(major, size, width, rest):
    length = 1 << (width - 24)
    header = bytes([major << 5 | width]) + (size % (1 << 8 * length)).to_bytes(length, "big") + rest
    frame = b"RFW1" + len(header).to_bytes(4, "big") + header
    tracemalloc.start()
    try:
        assert read(frame) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@calm
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63))
def test_a_tensor_that_claims_any_size_costs_less_than_a_megabyte(length, size):
    text = b'{"bias":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    tracemalloc.start()
    try:
        for body in (length.to_bytes(8, "little") + text, len(text).to_bytes(8, "little") + text):
            with pytest.raises(MalformedUpdate):
                SCHEMA.decode(body)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
