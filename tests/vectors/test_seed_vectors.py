"""Frozen randomness: a seed in an old report still gives the same cohorts, splits and weights."""

import json
from pathlib import Path

import pytest

from ringfort.core import Seeds

VECTORS = json.loads((Path(__file__).parent / "seeds" / "v1" / "seeds.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: "/".join(map(repr, [v["root"], *v["path"]])))
def test_a_path_gives_its_frozen_bits(vector):
    seeds = Seeds(vector["root"])
    assert seeds.integer(*vector["path"]) == vector["integer"]
    generator = seeds.child(*vector["path"])
    assert [int(word) for word in generator.bit_generator.random_raw(4)] == vector["raw"]
    assert seeds.child(*vector["path"]).permutation(8).tolist() == vector["permutation"]
    assert seeds.child(*vector["path"]).standard_normal(2, dtype="float32").tobytes().hex() == vector["normal"]
