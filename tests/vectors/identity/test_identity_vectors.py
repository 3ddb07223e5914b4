"""Documents made once: every later version reads them alike, or refuses them for the same reason."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringfort.core.errors import RingfortError
from ringfort.core.keys import Directory, SigningKey
from ringfort.identity import (
    EquivocationProof,
    Grant,
    Place,
    RegistryView,
    Request,
    Token,
    open_receipt,
    open_update,
    read_question,
    seal_update,
)
from ringfort.identity.authority import fingerprint

START = datetime(2026, 1, 1, tzinfo=UTC)
CASES = json.loads((Path(__file__).parent / "v1" / "identity.json").read_text())
PLACE = Place("run-1", 3, "update", "ab" * 32, bytes(range(32)))


def answer(case, folder):
    data, key = case["data"], bytes.fromhex(case["key"])
    match case["kind"]:
        case "token":
            return Token(bytes.fromhex(data)).digest
        case "context":
            return Place("run-1", 3, "update", data, key).slot.context.hex()
        case "request":
            return fingerprint(Request.decode(data.encode()).verify(key))
        case "grant":
            grant = Grant.decode(data.encode())
            grant.verify(key)
            return grant.enrolment.digest
        case "registry":
            (folder / "registry.jsonl").write_text(data)
            view = RegistryView(folder / "registry.jsonl", key)
            names = list(view.directory(START))
            return {"head": view.head.digest if case["expect"] and case["expect"]["head"] else None, "names": names}
        case "update":
            return bytes(open_update(bytes.fromhex(data), Directory({"a": key}), "a", PLACE, max_body_bytes=99)).hex()
        case "question":
            heard = read_question(bytes.fromhex(data), "train", max_body_bytes=99)
            payload = heard.open(Directory({"coordinator": key}), bytes(range(32)), "a", max_body_bytes=99)
            return {"digest": heard.digest.hex(), "payload": bytes(payload).hex()}
        case "receipt":
            envelope = seal_update(SigningKey(bytes([1]) * 32), "a", PLACE, b"one")
            server = Directory({"coordinator": key})
            return open_receipt(bytes.fromhex(data), server, "coordinator", PLACE, envelope).outcome
        case "proof":
            proof = EquivocationProof.decode(bytes.fromhex(data))
            proof.verify(Directory({"a": key}))
            return proof.culprit


@pytest.mark.parametrize("case", CASES, ids=[f"{case['kind']}: {case['name']}" for case in CASES])
def test_a_document_of_version_1(case, tmp_path):
    if case["error"] is None:
        assert answer(case, tmp_path) == case["expect"]
        return
    with pytest.raises(RingfortError) as error:
        answer(case, tmp_path)
    code, *reason = case["error"].split()
    assert error.value.code == code
    assert not reason or error.value.reason == reason[0]


def test_a_third_of_them_are_refused():
    assert 3 * sum(case["error"] is not None for case in CASES) >= len(CASES)
