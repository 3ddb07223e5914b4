import os
import subprocess
import sys
import tracemalloc

import cbor2
import numpy as np
import pytest

from ringfort.core import Schema
from ringfort.core.errors import InvalidValue, MalformedUpdate
from ringfort.core.tensors import digest_of
from ringfort.core.wire import FRAME_OVERHEAD_BYTES, Broadcast, encode_update, open_frame, verify_body

SCHEMA = Schema.of({"bias": (2,), "weight": (2, 3)})
PARAMS = np.arange(8, dtype=np.float32)


@pytest.fixture
def broadcast():
    return Broadcast.decode(Broadcast.encode("run-1", 3, SCHEMA.encode(PARAMS)), SCHEMA)


def frame_of(header, body=b"", magic=b"RFW1"):
    return magic + len(header).to_bytes(4, "big") + header + body


def test_a_broadcast_survives_the_round_trip(broadcast):
    assert (broadcast.run, broadcast.round) == ("run-1", 3)
    assert np.array_equal(broadcast.params, PARAMS)
    assert broadcast.model == digest_of(SCHEMA.encode(PARAMS))


def test_an_update_survives_the_round_trip(broadcast):
    frame = encode_update("ada", broadcast, -PARAMS, 12, SCHEMA)
    header, body = open_frame(frame, "update", max_body_bytes=SCHEMA.encoded_bytes)
    verify_body(header, body)
    assert (header.client, header.run, header.round, header.num_examples) == ("ada", "run-1", 3, 12)
    assert header.model == broadcast.model
    assert np.array_equal(SCHEMA.decode(body), -PARAMS)


def test_the_body_is_a_view_and_not_a_copy(broadcast):
    frame = encode_update("ada", broadcast, PARAMS, 12, SCHEMA)
    _, body = open_frame(frame, "update", max_body_bytes=SCHEMA.encoded_bytes)
    assert body.obj is frame


def test_a_client_never_trains_on_a_model_that_was_damaged_on_the_way():
    frame = bytearray(Broadcast.encode("run-1", 3, SCHEMA.encode(PARAMS)))
    frame[-1] ^= 1
    with pytest.raises(MalformedUpdate) as caught:
        Broadcast.decode(bytes(frame), SCHEMA)
    assert caught.value.reason == "digest"


def test_a_client_never_trains_on_a_model_that_goes_by_anothers_digest():
    body = SCHEMA.encode(PARAMS)
    fields = {"kind": "broadcast", "run": "r", "round": 1, "model": bytes(32), "body": bytes.fromhex(digest_of(body))}
    with pytest.raises(MalformedUpdate) as caught:
        Broadcast.decode(frame_of(cbor2.dumps(fields, canonical=True), body), SCHEMA)
    assert caught.value.reason == "digest"


def test_a_frame_may_fill_the_size_limit_but_not_pass_it():
    raw = b"RFW1".ljust(FRAME_OVERHEAD_BYTES + 100, b"\0")
    with pytest.raises(MalformedUpdate) as inside:
        open_frame(raw, "update", max_body_bytes=100)
    with pytest.raises(MalformedUpdate) as outside:
        open_frame(raw + b"\0", "update", max_body_bytes=100)
    assert (inside.value.reason, outside.value.reason) == ("frame", "size")


@pytest.mark.parametrize("thing", [None, "RFW1", 7, ["RFW1"], {"kind": "update"}, object()], ids=type)
def test_an_object_that_is_no_bytes_is_refused_like_any_other_message(thing):
    with pytest.raises(MalformedUpdate) as caught:
        open_frame(thing, "update", max_body_bytes=100)
    assert caught.value.reason == "frame"


def test_a_memory_view_of_wider_items_is_measured_in_bytes():
    wide = memoryview(np.zeros(FRAME_OVERHEAD_BYTES, np.float32))
    with pytest.raises(MalformedUpdate) as caught:
        open_frame(wide, "update", max_body_bytes=100)
    assert caught.value.reason == "size"


CLAIMS = {
    "bytes": b"\x5b",
    "text": b"\x7b",
    "list": b"\x9b",
    "map": b"\xbb",
    "list as a key": b"\xa1\x9b",
    "text as a value": b"\xa1\x61a\x7b",
}


@pytest.mark.parametrize("start", CLAIMS.values(), ids=CLAIMS)
@pytest.mark.parametrize("size", [64 << 30, (1 << 63) - 1, (1 << 64) - 1], ids=["64 GB", "2**63", "2**64"])
def test_nothing_is_allocated_for_what_a_frame_header_merely_claims(start, size):
    frame = frame_of(start + size.to_bytes(8, "big"))
    tracemalloc.start()
    with pytest.raises(MalformedUpdate):
        open_frame(frame, "update", max_body_bytes=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_no_claim_of_a_header_grows_the_process_by_ten_megabytes():
    script = """
import resource
from ringfort.core.errors import MalformedUpdate
from ringfort.core.wire import open_frame
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in (b"\\x5b", b"\\x7b", b"\\x9b", b"\\xbb", b"\\xa1\\x9b", b"\\x9a", b"\\xba"):
    for size in (1 << 28, 1 << 32, 1 << 36, 1 << 62, (1 << 64) - 1):
        width = 8 if start[-1] & 1 else 4
        header = start + (size % (1 << 8 * width)).to_bytes(width, "big")
        frame = b"RFW1" + len(header).to_bytes(4, "big") + header
        try:
            open_frame(frame, "update", max_body_bytes=100)
        except MalformedUpdate:
            continue
        raise SystemExit(f"accepted {header!r}")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10


@pytest.mark.parametrize("tag", [*range(6), 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799])
def test_no_tag_is_interpreted(tag, broadcast):
    header = cbor2.dumps(cbor2.CBORTag(tag, "1"))
    with pytest.raises(MalformedUpdate) as caught:
        open_frame(frame_of(header), "update", max_body_bytes=100)
    assert "not plain CBOR" in caught.value.message


def test_an_update_of_another_length_cannot_be_sent(broadcast):
    with pytest.raises(InvalidValue):
        encode_update("ada", broadcast, PARAMS[:-1], 12, SCHEMA)
