"""Whatever the path: the same one gives the same bits, another one gives others."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfort.core import Seeds

calm = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

parts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.integers(-(2**70), 2**70)
paths = st.lists(parts, max_size=4).map(tuple)
roots = st.integers(-(2**70), 2**70)


def bits(seeds, path):
    return seeds.child(*path).bit_generator.random_raw(3).tobytes()


def typed(root, path):
    return tuple((type(part), part) for part in (root, *path))


@calm
@given(roots, paths)
def test_a_path_repeats_itself(root, path):
    assert bits(Seeds(root), path) == bits(Seeds(root), path)
    assert 0 <= Seeds(root).integer(*path) < 2**63


@calm
@given(roots, paths, roots, paths)
def test_two_paths_share_their_bits_only_if_they_are_one_path(root, path, other_root, other):
    same = typed(root, path) == typed(other_root, other)
    assert (bits(Seeds(root), path) == bits(Seeds(other_root), other)) == same
    assert (Seeds(root).integer(*path) == Seeds(other_root).integer(*other)) == same


@calm
@given(roots, paths, st.integers(0, 4))
def test_where_a_path_is_cut_plays_no_part(root, path, cut):
    assert bits(Seeds(root).under(*path[:cut]), path[cut:]) == bits(Seeds(root), path)


@calm
@given(roots, paths, parts)
def test_a_branch_is_not_its_tree(root, path, part):
    assert bits(Seeds(root), path) != bits(Seeds(root), (*path, part))
    assert np.random.default_rng(0).bit_generator.random_raw() != Seeds(root).child(*path).bit_generator.random_raw()
