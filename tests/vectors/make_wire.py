"""Writes tests/vectors/wire/v1: messages as hexadecimal, and what a gate must say to each. Run once, then frozen.

It builds every frame with its own few lines of CBOR and safetensors and imports nothing of Ringfort, so the vectors
are a second opinion on the format and not an echo of the code. A changed format gets a new folder (v2), never new bytes
in this one.

    python tests/vectors/make_wire.py
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

HERE = Path(__file__).parent / "wire" / "v1"

RUN = "5e1f00d5ca1ab1e0b0a710adc0ffee00"
SCHEMA = {"bias": [2], "weight": [2, 3]}
VALUES = [0.5, -1.25, 1.0, 2.0, -3.0, 0.0, 4.5, -0.125]
MODEL = hashlib.sha256(b"the broadcast model").digest()
GATE = {"max_norm": 10.0, "max_examples": 1000}
PLAN = {"run": RUN, "round": 7, "cohort": ["ada", "bob", "c" * 64], "model": MODEL.hex()}


# --- CBOR, by hand (RFC 8949) -------------------------------------------------------------------------------------


def head(major: int, n: int) -> bytes:
    if n < 24:
        return bytes([major << 5 | n])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << (8 * size):
            return bytes([major << 5 | code]) + n.to_bytes(size, "big")
    raise ValueError(n)


def cbor(value: object) -> bytes:
    match value:
        case bool():
            return b"\xf5" if value else b"\xf4"
        case None:
            return b"\xf6"
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case dict():
            return header_of([(cbor(key), cbor(item)) for key, item in value.items()])
    raise TypeError(type(value))


def header_of(pairs: list[tuple[bytes, bytes]], *, ordered: bool = True) -> bytes:
    pairs = sorted(pairs) if ordered else pairs
    return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)


# --- safetensors, by hand -----------------------------------------------------------------------------------------


def floats(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def tensors(entries: object, data: bytes) -> bytes:
    text = (
        entries
        if isinstance(entries, bytes)
        else json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    )
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def entries_of(shapes: dict[str, list[int]], dtype: str = "F32", width: int = 4) -> dict[str, dict[str, object]]:
    out: dict[str, dict[str, object]] = {}
    start = 0
    for name in sorted(shapes):
        size = width
        for side in shapes[name]:
            size *= side
        out[name] = {"dtype": dtype, "shape": shapes[name], "data_offsets": [start, start + size]}
        start += size
    return out


def encoded(values: list[float] = VALUES, shapes: dict[str, list[int]] = SCHEMA) -> bytes:
    return tensors(entries_of(shapes), floats(values))


# --- frames -------------------------------------------------------------------------------------------------------


def fields_for(body: bytes, **changed: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "kind": "update",
        "run": RUN,
        "round": 7,
        "client": "ada",
        "model": MODEL,
        "num_examples": 120,
        "body": hashlib.sha256(body).digest(),
    }
    return {**fields, **changed}


def frame(header: bytes, body: bytes, *, magic: bytes = b"RFW1", length: int | None = None) -> bytes:
    return magic + (len(header) if length is None else length).to_bytes(4, "big") + header + body


def update(body: bytes | None = None, **changed: object) -> bytes:
    body = encoded() if body is None else body
    return frame(cbor(fields_for(body, **changed)), body)


def broadcast(body: bytes, **changed: object) -> bytes:
    digest = hashlib.sha256(body).digest()
    fields = {"kind": "broadcast", "run": RUN, "round": 7, "model": digest, "body": digest, **changed}
    return frame(cbor(fields), body)


def _pairs(body: bytes) -> list[tuple[bytes, bytes]]:
    return sorted((cbor(key), cbor(value)) for key, value in fields_for(body).items())


def _with(body: bytes, name: str, raw: bytes) -> bytes:
    """A header in which one field's value is these very bytes."""
    return header_of([(cbor(k), raw if k == name else cbor(v)) for k, v in fields_for(body).items()])


def _ok(about: str, raw: bytes, values: list[float] | None = None, **more: object) -> dict[str, object]:
    data = floats(VALUES if values is None else values)
    return {"about": about, "frame": raw.hex(), "expect": "ok", "values": data.hex(), **more}


def _bad(about: str, code: str, reason: str, raw: bytes, **more: object) -> dict[str, object]:
    return {"about": about, "frame": raw.hex(), "expect": "refused", "code": code, "reason": reason, **more}


def _good_vectors() -> dict[str, dict[str, object]]:
    rare = {"": [1], "a/\u2028": [1], 'quote"\\': [1], "tab\t\x01": [1], "été-😀": [1]}
    odd = {"empty": [0, 3], "scalar": []}
    small = [1e-45, -1e-45, 1.1754942e-38, -0.0, 0.0, 3.4e-38, -3.4e-38, 0.0]
    cap = [6.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    return {
        "ok_update": _ok("an ordinary update", update()),
        "ok_update_zero": _ok("an update of zeros", update(encoded([0.0] * 8)), [0.0] * 8),
        "ok_update_denormal": _ok("denormals and minus zero keep their bits", update(encoded(small)), small),
        "ok_update_norm_at_cap": _ok("a norm of exactly the cap is allowed", update(encoded(cap)), cap),
        "ok_update_examples_least": _ok("one example is enough", update(num_examples=1), num_examples=1),
        "ok_update_examples_at_cap": _ok("a claim of exactly the cap", update(num_examples=1000), num_examples=1000),
        "ok_update_long_name": _ok("a client name of 64 characters", update(client="c" * 64), sender="c" * 64),
        "ok_update_late_round": _ok("a round number of four bytes", update(round=70_000), round=70_000),
        "ok_update_odd_shapes": _ok(
            "a scalar and a tensor of no elements", update(encoded([2.5], odd)), [2.5], schema=odd
        ),
        "ok_update_rare_names": _ok(
            "tensor names with quotes, controls and letters beyond ASCII",
            update(encoded(VALUES[:5], rare)),
            VALUES[:5],
            schema=rare,
        ),
        "ok_broadcast": _ok("an ordinary broadcast", broadcast(encoded()), kind="broadcast"),
        "ok_broadcast_round_one": _ok("the first round", broadcast(encoded(), round=1), kind="broadcast", round=1),
    }


def _bad_frames() -> dict[str, dict[str, object]]:
    body = encoded()
    plain = fields_for(body)
    lacking = {key: value for key, value in plain.items() if key != "num_examples"}
    huge = head(2, 64 << 30)

    def of(about: str, raw: bytes) -> dict[str, object]:
        return _bad(about, "RF201", "frame", raw)

    def header(about: str, raw: bytes) -> dict[str, object]:
        return of(about, frame(raw, body))

    indefinite = b"\xbf" + b"".join(k + v for k, v in _pairs(body)) + b"\xff"
    return {
        "bad_frame_empty": of("nothing at all", b""),
        "bad_frame_magic": of("version 2's magic", frame(cbor(plain), body, magic=b"RFW2")),
        "bad_frame_pickle": of("a pickle that would call print", b"cbuiltins\nprint\n(S'canary'\ntR."),
        "bad_frame_torch_zip": of("the start of a torch checkpoint", b"PK\x03\x04" + bytes(64)),
        "bad_frame_npy": of("the start of a NumPy file", b"\x93NUMPY\x01\x00" + bytes(64)),
        "bad_frame_seven_bytes": of("the magic and half a length", b"RFW1\x00\x00\x00"),
        "bad_frame_length_over_limit": of("a header of 4,097 bytes", frame(bytes(4097), b"")),
        "bad_frame_length_beyond_end": of("a header longer than the frame", frame(cbor(plain), b"", length=4000)),
        "bad_frame_length_4gb": of("a header of 4 GB", frame(cbor(plain), body, length=2**32 - 1)),
        "bad_frame_length_cuts_header": of(
            "a header cut one byte short", frame(cbor(plain), body, length=len(cbor(plain)) - 1)
        ),
        "bad_frame_length_zero": of("no header", frame(b"", body)),
        "bad_header_trailing_byte": header("a byte after the map", cbor(plain) + b"\x00"),
        "bad_header_tag_bignum": header("120 as a tagged big number", _with(body, "num_examples", b"\xc2\x41\x78")),
        "bad_header_tag_date": header(
            "a tagged date as run", _with(body, "run", b"\xc0" + cbor("2026-01-01T00:00:00Z"))
        ),
        "bad_header_tag_selfdescribed": header("the CBOR magic tag in front", b"\xd9\xd9\xf7" + cbor(plain)),
        "bad_header_tag_shared": header("a shared reference", _with(body, "run", b"\xd8\x1c" + cbor(RUN))),
        "bad_header_duplicate_key": header("round twice", header_of([*_pairs(body), (cbor("round"), cbor(7))])),
        "bad_header_indefinite_map": header("a map of indefinite length", indefinite),
        "bad_header_indefinite_text": header(
            "a run of indefinite length", _with(body, "run", b"\x7f" + cbor(RUN) + b"\xff")
        ),
        "bad_header_extra_field": header("a field more", cbor({**plain, "lr": 1})),
        "bad_header_missing_field": header("a field less", cbor(lacking)),
        "bad_header_renamed_field": header("a field by another name", cbor({**lacking, "NUM_EXAMPLES": 120})),
        "bad_header_bytes_key": header(
            "a key of bytes", header_of([(cbor(k.encode() if k == "run" else k), cbor(v)) for k, v in plain.items()])
        ),
        "bad_header_bool_round": header("true for a round", cbor({**plain, "round": True})),
        "bad_header_bool_examples": header("true for a number of examples", cbor({**plain, "num_examples": True})),
        "bad_header_float_examples": header("120.0 examples", cbor({**plain, "num_examples": 120.0})),
        "bad_header_nan_examples": header("NaN examples", _with(body, "num_examples", b"\xf9\x7e\x00")),
        "bad_header_text_examples": header("'10' examples", cbor({**plain, "num_examples": "10"})),
        "bad_header_null_client": header("null for a client", cbor({**plain, "client": None})),
        "bad_header_bytes_client": header("bytes for a client", cbor({**plain, "client": b"ada"})),
        "bad_header_map_run": header("a map for a run", cbor({**plain, "run": {"a": 1}})),
        "bad_header_bad_utf8": header("text that is not UTF-8", _with(body, "client", b"\x63\xff\xfe\xfd")),
        "bad_header_long_integer": header("7 in nine bytes", _with(body, "round", b"\x1b" + (7).to_bytes(8, "big"))),
        "bad_header_unsorted": header("keys in another order", header_of(_pairs(body)[::-1], ordered=False)),
        "bad_header_other_kind": of("a broadcast where an update is due", broadcast(body)),
        "bad_header_kind_word": header("another kind with an update's fields", cbor({**plain, "kind": "delta"})),
        "bad_header_short_digest": header("a digest of 31 bytes", cbor({**plain, "body": bytes(31)})),
        "bad_header_hex_model": header("a model's digest as text", cbor({**plain, "model": MODEL.hex()})),
        "bad_header_array": header("a list", b"\x80"),
        "bad_header_64gb": header("a text of 64 GB that is not there", head(5, 7) + cbor("run") + huge),
        "bad_header_deep": header("4,000 lists in each other", b"\x81" * 4000),
    }


def _bad_bodies() -> dict[str, dict[str, object]]:
    data = floats(VALUES)
    plain = entries_of(SCHEMA)
    order = {
        "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "bias": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
    }
    overlap = {**plain, "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(plain, separators=(",", ":")).encode()
    twice = b'{"bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' + text[1:]
    doubles = tensors(entries_of(SCHEMA, "F64", 8), struct.pack("<8d", *VALUES))
    whole = tensors(entries_of(SCHEMA, "I32"), struct.pack("<8i", *range(8)))

    def of(about: str, reason: str, body: bytes) -> dict[str, object]:
        return _bad(about, "RF201", reason, update(body))

    def shapes(**named: list[int]) -> bytes:
        return tensors(entries_of(named), data)

    return {
        "bad_body_empty": of("no tensors", "size", b""),
        "bad_body_seven_bytes": of("not even a length", "size", bytes(7)),
        "bad_body_length_impossible": of(
            "a tensor header of 2**63 bytes", "size", (1 << 63).to_bytes(8, "little") + data
        ),
        "bad_body_truncated": of("the last byte is missing", "size", encoded()[:-1]),
        "bad_body_trailing": of("one byte too many", "size", encoded() + b"\x00"),
        "bad_body_trailing_block": of("4,000 bytes too many", "size", encoded() + bytes(4000)),
        "bad_body_too_large": of("more than header and tensors can be", "size", encoded() + bytes(9000)),
        "bad_body_pickle": of("a pickle where tensors are due", "size", b"cbuiltins\nprint\n(S'canary'\ntR."),
        "bad_body_not_json": of("a tensor header of zeros", "header", tensors(bytes(64), data)),
        "bad_body_json_list": of("a tensor header that is a list", "header", tensors([1, 2], data)),
        "bad_body_json_deep": of("lists in lists", "header", tensors(b"[" * 3000, b"")),
        "bad_body_utf16": of(
            "a tensor header of broken UTF-16", "header", tensors(b"\xff\xfe\x00\xd8" + bytes(4), data)
        ),
        "bad_body_entry_number": of("a number for a tensor", "header", tensors({"bias": 1, "weight": 2}, data)),
        "bad_body_key_missing": of("the bias is missing", "keys", shapes(weight=[2, 3])),
        "bad_body_key_extra": of("a tensor more", "keys", shapes(bias=[2], weight=[2, 3], zz=[0])),
        "bad_body_key_renamed": of("another name", "keys", shapes(Bias=[2], weight=[2, 3])),
        "bad_body_key_twice": of("the bias twice", "keys", tensors(twice, data)),
        "bad_body_metadata": of(
            "free text beside the tensors", "keys", tensors({"__metadata__": {"a": "b"}, **plain}, data)
        ),
        "bad_body_float64": of("float64", "dtype", doubles),
        "bad_body_int32": of("int32, of the right size", "dtype", whole),
        "bad_body_bool": of("booleans", "dtype", tensors(entries_of(SCHEMA, "BOOL", 1), bytes(8))),
        "bad_body_fp8": of("eight-bit floats", "dtype", tensors(entries_of(SCHEMA, "F8_E4M3", 1), bytes(8))),
        "bad_body_shape_transposed": of(
            "(3, 2) for (2, 3), of the right size", "shape", shapes(bias=[2], weight=[3, 2])
        ),
        "bad_body_shape_flat": of("(6,) for (2, 3), of the right size", "shape", shapes(bias=[2], weight=[6])),
        "bad_body_shape_broadcasts": of(
            "(1,) for (2,), which would broadcast",
            "shape",
            tensors(entries_of({"bias": [1], "weight": [2, 3]}), floats(VALUES[:7])),
        ),
        "bad_body_shape_64gb": of(
            "a tensor of 64 GB that is not there", "shape", shapes(bias=[2], weight=[1 << 17, 1 << 17])
        ),
        "bad_body_order": of("tensors in another order", "layout", tensors(order, data)),
        "bad_body_overlap": of("tensors that overlap", "layout", tensors(overlap, data)),
        "bad_body_spaced": of(
            "another spelling of the same header, of the same size",
            "layout",
            tensors(
                json.dumps(plain, separators=(",", ":"))
                .replace('"dtype":"F32","shape":[2]', '"shape":[2],"dtype":"F32"')
                .encode(),
                data,
            ),
        ),
    }


def _bad_values_and_claims() -> dict[str, dict[str, object]]:
    def value(about: str, code: str, reason: str, number: float) -> dict[str, object]:
        return _bad(about, code, reason, update(encoded([*VALUES[:7], number])))

    body = encoded()
    other = hashlib.sha256(b"another model").digest()
    return {
        "bad_digest": _bad(
            "a flipped bit in the last value", "RF201", "digest", update(body)[:-1] + bytes([body[-1] ^ 1])
        ),
        "bad_digest_zero": _bad(
            "a digest of zeros",
            "RF201",
            "digest",
            update()[: -len(body)].replace(hashlib.sha256(body).digest(), bytes(32)) + body,
        ),
        "bad_value_nan": value("one NaN", "RF201", "not-finite", float("nan")),
        "bad_value_inf": value("one infinity", "RF201", "not-finite", float("inf")),
        "bad_value_minus_inf": value("one negative infinity", "RF201", "not-finite", float("-inf")),
        "bad_norm_just_over": value("a norm just over the cap", "RF205", "norm-cap", 9.0),
        "bad_norm_float_max": value("a value near float32's largest", "RF205", "norm-cap", 3e38),
        "bad_norm_all_float_max": _bad("3e38 everywhere", "RF205", "norm-cap", update(encoded([3e38] * 8))),
        "bad_examples_zero": _bad("no examples", "RF205", "weight-cap", update(num_examples=0)),
        "bad_examples_negative": _bad("minus one examples", "RF205", "weight-cap", update(num_examples=-1)),
        "bad_examples_1e18": _bad("a quintillion examples", "RF205", "weight-cap", update(num_examples=10**18)),
        "bad_examples_over_cap": _bad("one example over the cap", "RF205", "weight-cap", update(num_examples=1001)),
        "bad_client_other": _bad("bob's name on ada's line", "RF202", "wrong-client", update(client="bob")),
        "bad_client_path": _bad("a path for a name", "RF202", "wrong-client", update(client="../../etc/passwd\x00")),
        "bad_client_long": _bad("a name of 3,000 letters", "RF202", "wrong-client", update(client="a" * 3000)),
        "bad_client_uninvited": _bad(
            "a client outside the cohort", "RF202", "not-in-cohort", update(client="eve"), sender="eve"
        ),
        "bad_run_other": _bad("another run", "RF204", "wrong-run", update(run="0" * 32)),
        "bad_round_last": _bad("the round before", "RF204", "wrong-round", update(round=6)),
        "bad_round_next": _bad("the round after", "RF204", "wrong-round", update(round=8)),
        "bad_round_negative": _bad("a negative round", "RF204", "wrong-round", update(round=-7)),
        "bad_model_other": _bad("another model", "RF204", "wrong-model", update(model=other)),
        "bad_broadcast_is_update": _bad(
            "an update where a broadcast is due", "RF201", "frame", update(), kind="broadcast"
        ),
        "bad_broadcast_digest": _bad(
            "a damaged model", "RF201", "digest", broadcast(body)[:-1] + bytes([body[-1] ^ 1]), kind="broadcast"
        ),
        "bad_broadcast_other_model": _bad(
            "a model under another's name", "RF201", "digest", broadcast(body, model=other), kind="broadcast"
        ),
        "bad_broadcast_shape": _bad(
            "a model of another shape",
            "RF201",
            "shape",
            broadcast(tensors(entries_of({"bias": [2], "weight": [3, 2]}), floats(VALUES))),
            kind="broadcast",
        ),
    }


def vectors() -> dict[str, dict[str, object]]:
    made = {**_good_vectors(), **_bad_frames(), **_bad_bodies(), **_bad_values_and_claims()}
    common = {"kind": "update", "sender": "ada", "schema": SCHEMA, "gate": GATE, "round": 7, "num_examples": 120}
    return {
        name: {**common, **vector, "plan": {**PLAN, "round": vector.get("round", 7)}} for name, vector in made.items()
    }


if __name__ == "__main__":
    HERE.mkdir(parents=True, exist_ok=True)
    for name, vector in vectors().items():
        path = HERE / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(vector, indent=1, sort_keys=True, ensure_ascii=True) + "\n", encoding="utf-8")
