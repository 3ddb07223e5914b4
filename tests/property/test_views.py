"""Whatever the numbers: sums and products agree with plain float64 arithmetic, and nothing is ever written."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ringfort.core import Rows, Update
from ringfort.core.views import squared_distances
from ringfort.testing import toy_rows

calm = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

finite = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
matrices = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=finite)


@calm
@given(matrices)
def test_the_gram_matrix_is_the_float64_one(values):
    wide = values.astype(np.float64)
    bound = 1e-13 * (np.abs(wide) @ np.abs(wide).T) + 1e-300
    found = toy_rows(values).gram()
    assert (np.abs(found - wide @ wide.T) <= bound).all()
    assert np.array_equal(found, found.T)


@calm
@given(matrices)
def test_distances_are_as_precise_as_promised(values):
    wide = values.astype(np.float64)
    exact = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    squares = (wide**2).sum(axis=1)
    found = squared_distances(toy_rows(values))
    assert (np.abs(found - exact) <= 1e-13 * (squares[:, None] + squares[None]) + 1e-300).all()
    assert (found >= 0).all()
    assert not np.diagonal(found).any()


@calm
@given(matrices, st.data())
def test_a_mean_lies_between_the_smallest_and_the_largest_row(values, data):
    n = len(values)
    raw = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), float)
    weights = raw / raw.sum() if raw.any() else np.full(n, 1 / n)
    before = values.copy()
    found = toy_rows(values).combine(weights).astype(np.float64)
    used = values[weights > 0].astype(np.float64)
    slack = 1e-6 * np.abs(used).max(axis=0) + 1e-44
    assert (used.min(axis=0) - slack <= found).all()
    assert (found <= used.max(axis=0) + slack).all()
    assert np.array_equal(values, before)


@calm
@given(matrices, st.randoms(use_true_random=False))
def test_the_order_of_arrival_plays_no_part(values, random):
    updates = [Update(f"c{i}", 1, row, 1) for i, row in enumerate(values)]
    one, two = Rows.of(updates), Rows.of(random.sample(updates, len(updates)))
    weights = np.full(len(values), 1 / len(values))
    assert one.clients == two.clients
    assert one.gram().tobytes() == two.gram().tobytes()
    assert one.combine(weights).tobytes() == two.combine(weights).tobytes()


@calm
@given(matrices, st.integers(1, 50))
def test_blocks_of_any_width_put_together_are_the_matrix(values, width):
    blocks = list(toy_rows(values).blocks(width))
    assert all(0 < block.shape[1] <= width and not block.flags.writeable for block in blocks)
    assert np.hstack(blocks).tobytes() == values.tobytes()
