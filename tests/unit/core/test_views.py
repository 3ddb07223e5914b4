import numpy as np
import pytest

from ringfort.core import GramView, Rows, Total, Update
from ringfort.core.errors import InvalidValue
from ringfort.core.views import BLOCK, squared_distances
from ringfort.testing import toy_rows


def matrix(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("d", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_the_gram_matrix_is_the_float64_one_at_every_block_edge(d):
    values = matrix(4, d)
    wide = values.astype(np.float64)
    assert np.allclose(toy_rows(values).gram(), wide @ wide.T, rtol=1e-12, atol=1e-9)


def test_distances_survive_a_large_common_part():
    values = matrix(6, 4_000, seed=1) + np.float32(1000)
    wide = values.astype(np.float64)
    exact = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    found = squared_distances(toy_rows(values))
    squares = (wide**2).sum(axis=1)
    allowed = 1e-14 * (squares[:, None] + squares[None])
    assert (np.abs(found - exact) <= allowed).all()
    apart = ~np.eye(6, dtype=bool)
    assert np.abs(found[apart] / exact[apart] - 1).max() < 1e-6


def test_a_gram_matrix_in_float32_would_have_lost_those_distances():
    values = matrix(6, 4_000, seed=1) + np.float32(1000)
    narrow = values @ values.T
    squares = np.diagonal(narrow)
    lost = squares[:, None] + squares[None] - 2 * narrow
    wide = values.astype(np.float64)
    exact = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    apart = ~np.eye(6, dtype=bool)
    assert np.abs(lost[apart] / exact[apart] - 1).max() > 1e-3


def test_distances_are_symmetric_never_negative_and_zero_between_twins():
    values = matrix(5, 300, seed=2) * np.float32(1e6)
    values[3] = values[1]
    found = squared_distances(toy_rows(values))
    assert (found >= 0).all()
    assert np.array_equal(found, found.T)
    assert not np.diagonal(found).any()
    assert found[1, 3] == 0


def test_distances_do_not_write_into_the_shared_gram_matrix():
    rows = toy_rows(matrix(3, 5))
    before = rows.gram().copy()
    squared_distances(rows)[:] = -1
    assert np.array_equal(rows.gram(), before)


def test_float32s_largest_values_do_not_overflow_the_gram_matrix():
    assert np.isfinite(toy_rows(np.full((2, 9), 3e38)).gram()).all()


@pytest.mark.parametrize("d", [1, BLOCK, BLOCK + 3])
def test_a_weighted_sum_is_the_float64_one_to_six_digits(d):
    values = matrix(5, d, seed=3)
    weights = np.array([0.5, -1.0, 0.0, 2.0, 1e-3])
    exact = (weights[:, None] * values.astype(np.float64)).sum(axis=0)
    found = toy_rows(values).combine(weights)
    assert found.dtype == np.float32
    assert (np.abs(found - exact) <= 1e-6 * (np.abs(weights[:, None]) * np.abs(values)).sum(axis=0)).all()


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 100, 700])
@pytest.mark.parametrize("kind", ["random", "equal", "a common part", "one row far out", "large", "tiny"])
def test_a_weighted_sum_of_any_number_of_rows_keeps_six_digits(n, kind):
    noise = matrix(n, 900, seed=4).astype(np.float64)
    values = {
        "random": noise,
        "equal": np.repeat(noise[:1], n, axis=0),
        "a common part": 1e3 + 1e-2 * noise,
        "one row far out": np.where(np.arange(n)[:, None] == n // 2, 3e37, 1e-6) * np.clip(noise, -4, 4),
        "large": 8e37 * np.clip(noise, -4, 4),
        "tiny": 1e-30 * noise,
    }[kind].astype(np.float32)
    weights = np.random.default_rng(n).random(n)
    weights[1::3] = 0
    if kind == "equal":
        weights[:] = 1 / 3  # many equal terms: float32 alone would round them one way
    if kind == "one row far out":
        weights[n // 2] = 1e-42  # what clipping leaves of it; float32 does not hold this weight
    weights /= 2 * weights.sum()
    wide = values.astype(np.float64)
    error = np.abs(toy_rows(values).combine(weights) - weights @ wide)
    assert (error <= 1e-6 * (weights @ np.abs(wide)) + 1e-45).all()


def test_a_sum_whose_parts_overflow_float32_is_taken_in_float64():
    values = np.repeat(np.array([[3e38], [3e38], [-3e38]], np.float32), 5, axis=1)
    ones = np.ones((1, 3))
    assert np.allclose(toy_rows(values).combine(ones[0]), 3e38, rtol=1e-6)
    assert np.allclose(toy_rows(values).mixed(ones, ("a",)).block(0, 5), 3e38, rtol=1e-6)


@pytest.mark.parametrize("n", [5, 128, 129, 1_000])
@pytest.mark.parametrize("kind", ["random", "equal", "clipped"])
def test_mixed_blocks_keep_their_digits(n, kind):
    values = matrix(n, 300, seed=6)
    weights = np.random.default_rng(n).random((n, n))
    weights[weights < 0.2] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    if kind == "equal":
        values, weights[:] = np.repeat(values[:1], n, axis=0), 1 / (n + 3)
    if kind == "clipped":
        values[0] *= np.float32(1e37)
        weights[:, 0] = 1e-37 * (n > 0)
    wide = values.astype(np.float64)
    error = np.abs(Rows(toy_rows(values).clients, values, weights).block(0, 300) - weights @ wide)
    assert (error <= 2e-6 * (weights @ np.abs(wide))).all()


def test_one_row_with_weight_one_comes_back_bit_for_bit():
    values = matrix(3, 1000)
    values[1, :4] = [-0.0, 0.0, 1e-45, -3.4e38]
    assert toy_rows(values).combine(np.array([0.0, 1.0, 0.0])).tobytes() == values[1].tobytes()


def test_rows_of_weight_zero_are_not_even_read():
    values = matrix(3, 10)
    values[1] = np.nan
    assert np.isfinite(toy_rows(values).combine(np.array([0.5, 0.0, 0.5]))).all()
    assert not toy_rows(values).combine(np.zeros(3)).any()


@pytest.mark.parametrize("weights", [np.ones(2), np.ones((3, 1)), np.ones(4)], ids=["few", "matrix", "many"])
def test_weights_of_another_shape_are_refused_and_never_broadcast(weights):
    with pytest.raises(InvalidValue, match="weights"):
        toy_rows(matrix(3, 4)).combine(weights)


def test_nothing_can_be_written_through_a_view():
    values = matrix(3, 5)
    rows = toy_rows(values)
    for part in (rows.matrix, next(iter(rows.blocks(2))), rows.gram()):
        with pytest.raises(ValueError, match="read-only"):
            part[0, 0] = 1
    assert values.flags.writeable


def test_blocks_cover_every_column_once_from_left_to_right():
    values = matrix(2, 11)
    blocks = list(toy_rows(values).blocks(4))
    assert [block.shape for block in blocks] == [(2, 4), (2, 4), (2, 3)]
    assert np.array_equal(np.hstack(blocks), values)


def test_a_memory_mapped_matrix_gives_the_same_numbers(tmp_path):
    values = matrix(4, BLOCK + 9, seed=5)
    values.tofile(tmp_path / "rows.f32")
    mapped = np.memmap(tmp_path / "rows.f32", np.float32, "r", shape=values.shape)
    one, two = Rows(tuple("abcd"), mapped), Rows(tuple("abcd"), values)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    assert np.array_equal(one.gram(), two.gram())
    assert np.array_equal(one.combine(weights), two.combine(weights))
    assert isinstance(one, GramView)


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_rows_stand_in_the_order_of_names_whoever_answered_first(order):
    updates = [Update(c, 1, np.full(2, i, np.float32), 1) for i, c in enumerate(["ada", "bob", "cy"])]
    rows = Rows.of(updates if order == "forward" else updates[::-1])
    assert rows.clients == ("ada", "bob", "cy")
    assert rows.matrix.tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("clients", "values"),
    [
        (("a", "b"), np.zeros((3, 2), np.float32)),
        (("a", "a"), np.zeros((2, 2), np.float32)),
        (("a", "b"), np.zeros((2, 2), np.float64)),
        (("a", "b"), np.zeros((2, 2), ">f4")),
        (("a", "b"), np.zeros(2, np.float32)),
        (("a",), np.zeros((1, 1, 1), np.float32)),
        ((), np.zeros((0, 3), np.float32)),
        (("a", "b"), np.zeros((2, 0), np.float32)),
        ((), np.zeros((0, 0), np.float32)),
    ],
    ids=["names", "twice", "float64", "big-endian", "vector", "cube", "nobody", "no columns", "nothing"],
)
def test_rows_of_another_shape_or_dtype_cannot_be_made(clients, values):
    with pytest.raises(InvalidValue):
        Rows(clients, values)


def test_rows_of_nobody_cannot_be_made():
    with pytest.raises(InvalidValue):
        Rows.of([])


def test_a_total_needs_somebody_and_one_vector():
    assert Total(np.zeros(2, np.float32), ("a",)).clients == ("a",)
    with pytest.raises(InvalidValue):
        Total(np.zeros(2, np.float32), ())
    with pytest.raises(InvalidValue):
        Total(np.zeros((1, 2), np.float32), ("a",))


def test_a_total_shows_nothing_about_a_single_client():
    assert not isinstance(Total(np.zeros(2, np.float32), ("a",)), GramView)


def test_rows_that_are_left_out_or_scaled_are_the_products_of_the_general_way():
    """One row times a factor needs no matrix product, and gives its bits."""
    values = matrix(7, 300)
    view = toy_rows(values)
    for weights in (np.eye(7)[2:], np.diag([1, 0.25, 1, 0.3, 1, 0.7, 1])[[0, 1, 3, 5]], np.zeros((2, 7))):
        mixed = view.mixed(weights, view.clients[: len(weights)])
        assert mixed._single is not None
        assert np.array_equal(mixed.block(0, 300), weights.astype(np.float32) @ values)
    both = view.mixed(np.eye(7) + np.eye(7, k=1), view.clients)
    assert both._single is None
    huge = Rows(view.clients[:1], np.full((1, 4), 3e38, np.float32)).mixed(np.array([[0.5]]), view.clients[:1])
    assert np.isfinite(huge.block(0, 4)).all()
