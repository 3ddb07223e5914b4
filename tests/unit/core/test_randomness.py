import hashlib

import numpy as np
import pytest

from ringfort.core import SecureRandom, Seeds


def bits(generator):
    return tuple(int(word) for word in generator.bit_generator.random_raw(4))


def test_the_same_path_gives_the_same_bits():
    assert bits(Seeds(7).child("round", 3)) == bits(Seeds(7).child("round", 3))


def test_a_path_may_be_walked_in_parts():
    assert bits(Seeds(7).under("round", 3).child("a")) == bits(Seeds(7).child("round", 3, "a"))
    assert Seeds(7).under("x").integer() == Seeds(7).integer("x")


PATHS = [
    (),
    ("a",),
    ("b",),
    ("a", "b"),
    ("b", "a"),
    ("ab",),
    ("a/b",),
    ("a/str:1:b",),
    (1,),
    ("1",),
    (1, 1),
    (11,),
    (-1,),
    ("",),
    ("", ""),
]


@pytest.mark.parametrize("root", [0, 1, 10])
def test_no_two_paths_share_a_stream_whatever_separators_their_names_hold(root):
    assert len({bits(Seeds(root).child(*path)) for path in PATHS}) == len(PATHS)


def test_roots_differ_even_where_digits_could_flow_together():
    assert len({bits(Seeds(root).child(1)) for root in (1, 11, -1, 2**64, 2**64 + 1)}) == 5


def test_a_generator_is_fresh_each_time():
    seeds = Seeds(1)
    seeds.child("a").random(100)
    assert bits(seeds.child("a")) == bits(Seeds(1).child("a"))


def test_an_integer_is_63_bits_of_sha256_over_the_typed_path():
    expected = int.from_bytes(hashlib.sha256(b"int:1:7/str:5:round/int:1:3").digest()[:8], "big") >> 1
    assert Seeds(7).integer("round", 3) == expected
    assert all(0 <= Seeds(7).integer(i) < 2**63 for i in range(50))


def test_streams_of_neighbours_are_not_correlated():
    one, two = (Seeds(0).child("client", i).standard_normal(20_000) for i in (0, 1))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03


def test_numpys_global_generator_plays_no_part():
    before = bits(Seeds(3).child("x"))
    Seeds(3).child("x").random(10)
    assert bits(Seeds(3).child("x")) == before


def test_secure_randomness_cannot_be_seeded_and_does_not_repeat():
    assert len({SecureRandom().token(16) for _ in range(100)}) == 100
    with pytest.raises(TypeError):
        SecureRandom(7)
    with pytest.raises(AttributeError):
        SecureRandom().seed = 7
    assert not hasattr(SecureRandom(), "child")
    assert not hasattr(Seeds(0), "token")
