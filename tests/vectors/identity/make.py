"""Writes v1/identity.json anew. Certificates are signed with fresh randomness, so its bytes differ every time:

run it for a new version of a format only, never to make a failing test pass.
"""

import json
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from ringfort.core.keys import SigningKey
from ringfort.identity import (
    Authority,
    Claim,
    EquivocationProof,
    JoinPolicy,
    Place,
    Question,
    Quota,
    Receipt,
    Registry,
    Role,
    Subject,
    Token,
    make_request,
    seal_question,
    seal_receipt,
    seal_update,
)
from ringfort.identity.authority import fingerprint

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KEY, OTHER, SERVER = (SigningKey(bytes([i]) * 32) for i in (1, 2, 3))
PLACE = Place("run-1", 3, "update", "ab" * 32, bytes(range(32)))


def cases():
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority.create(Path(folder), "demo", ("fl.example.org",), 365 * DAY, START)
        policy = JoinPolicy(5, timedelta(minutes=12), timedelta(0), DAY)
        registry = Registry.open_new(Path(folder) / "registry.jsonl", authority, policy, START)
        who = Subject("hospital-7", "north", Role.CLIENT)
        letter = registry.invite(who, Quota(3, 1000), timedelta(hours=1), START)
        transport = ec.generate_private_key(ec.SECP256R1())
        request = make_request(letter.authority, letter.name, KEY, transport, letter.token.key)
        grant = registry.admit(request.encode(), START)
        enrolled = (Path(folder) / "registry.jsonl").read_text()
        registry.revoke("hospital-7", "left", START)
        whole = (Path(folder) / "registry.jsonl").read_text()
        head = registry.head.digest
        registry.close()
    pub = authority.key.public.hex()
    ask, got, lines = request.encode().decode(), grant.encode().decode(), whole.splitlines(keepends=True)

    def case(kind, name, data, expect=None, error=None, key=pub):
        return {"kind": kind, "name": name, "key": key, "data": data, "expect": expect, "error": error}

    yield case("token", "digest", "07" * 32, Token(bytes([7]) * 32).digest)
    yield case("context", "of an update", PLACE.model, PLACE.slot.context.hex(), key=PLACE.authority.hex())
    yield case("request", "genuine", ask, fingerprint(transport.public_key()))
    yield case("request", "another name", ask.replace("hospital-7", "hospital-8"), error="RF203 possession")
    yield case("request", "another authority", ask, error="RF203 authority", key=OTHER.public.hex())
    yield case("grant", "genuine", got, grant.enrolment.digest)
    yield case(
        "grant", "a larger cap", got.replace('"max_examples":1000', '"max_examples":9000'), error="RF203 enrolment"
    )
    yield case("grant", "of another authority", got, error="RF203 enrolment", key=OTHER.public.hex())
    yield case("registry", "enrolled", enrolled, {"head": None, "names": ["hospital-7"]})
    yield case("registry", "revoked", whole, {"head": head, "names": []})
    yield case("registry", "torn", whole[:-1], {"head": None, "names": ["hospital-7"]})
    yield case("registry", "invited only", "".join(lines[:2]), {"head": None, "names": []})
    yield case("registry", "opened", lines[0], {"head": None, "names": []})
    yield case("registry", "without its revocation's place", "".join([*lines[:2], lines[3]]), error="RF701")
    yield case("registry", "another reason", whole.replace('"left"', '"lift"'), error="RF701")
    envelope, second = seal_update(KEY, "a", PLACE, b"one"), seal_update(KEY, "a", PLACE, b"two")
    proof = EquivocationProof(Claim.of(envelope), Claim.of(second)).encode().hex()
    yield case("update", "genuine", envelope.hex(), b"one".hex(), key=KEY.public.hex())
    yield case("update", "another body", envelope.hex()[:-1] + "0", error="RF203 wrong-body", key=KEY.public.hex())
    yield case("update", "another signer", envelope.hex(), error="RF203 signature", key=OTHER.public.hex())
    receipt = seal_receipt(SERVER, "coordinator", PLACE, envelope, Receipt("a", START, "admitted"))
    asked = replace(PLACE, request=bytes(32))
    answer = seal_update(KEY, "a", asked, b"one")
    yield case("update", "for another request", answer.hex(), error="RF203 wrong-context", key=KEY.public.hex())
    question = Question("run-1", 3, "train", "ab" * 32, 7, b"grant", b"")
    start, digest = seal_question(SERVER, "coordinator", bytes(range(32)), "a", question, sha256(b"one").digest())
    message = start + b"one"
    key = SERVER.public.hex()
    yield case("question", "genuine", message.hex(), {"digest": digest.hex(), "payload": b"one".hex()}, key=key)
    yield case("question", "another payload", (start + b"two").hex(), error="RF203 wrong-body", key=key)
    yield case(
        "question", "another number", message.replace(b"number\x07", b"number\x08").hex(), error="RF203", key=key
    )
    yield case("question", "another version", (b"RFS2" + message[4:]).hex(), error="RF201 version", key=key)
    yield case("question", "unsigned", b"RFW1".hex(), error="RF201 unsigned", key=key)
    yield case("receipt", "genuine", receipt.hex(), "admitted", key=SERVER.public.hex())
    yield case("proof", "genuine", proof, "a", key=KEY.public.hex())
    yield case("proof", "against somebody else's key", proof, error="RF203 signature", key=OTHER.public.hex())


if __name__ == "__main__":
    path = Path(__file__).parent / "v1" / "identity.json"
    path.write_text(json.dumps(list(cases()), indent=1) + "\n")
