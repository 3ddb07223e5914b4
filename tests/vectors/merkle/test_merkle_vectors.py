"""The public vectors of RFC 6962 trees: heads, paths, and what must be refused."""

import hashlib
import json
from pathlib import Path

import pytest

from ringfort.core.errors import BadProof
from ringfort.rounds.merkle import Tree, consistency_path, inclusion_path, root_from, verify_consistency

FILES = {path.stem: path for path in sorted((Path(__file__).parent / "v1").glob("*.json"))}
LEAVES = json.loads(FILES["ok_root_8"].read_text())["leaves"]


def leaf(text):
    return hashlib.sha256(b"\x00" + bytes.fromhex(text)).digest()


def holds(vector):
    path = [bytes.fromhex(step) for step in vector["path"]]
    if vector["kind"] == "inclusion":
        found = root_from(leaf(vector["leaf"]), vector["index"], vector["size"], path)
        if found.hex() != vector["root"]:
            raise BadProof("another head")
    else:
        old, new = bytes.fromhex(vector["old"]), bytes.fromhex(vector["new"])
        verify_consistency(vector["before"], old, vector["size"], new, path)


def test_a_third_and_more_of_the_vectors_are_bad_ones():
    assert len(FILES) > 40
    assert sum(name.startswith("bad_") for name in FILES) * 3 >= len(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("ok_")])
def test_a_good_vector_is_made_and_verified(name):
    vector = json.loads(FILES[name].read_text())
    if vector["kind"] == "root":
        assert Tree(leaf(text) for text in vector["leaves"]).root.hex() == vector["root"]
        return
    leaves = [leaf(text) for text in LEAVES[: vector["size"]]]
    if vector["kind"] == "inclusion":
        made = inclusion_path(leaves, vector["index"])
    else:
        made = consistency_path(leaves, vector["before"])
    assert [step.hex() for step in made] == vector["path"]
    holds(vector)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("bad_")])
def test_a_bad_vector_is_refused(name):
    with pytest.raises(BadProof):
        holds(json.loads(FILES[name].read_text()))
