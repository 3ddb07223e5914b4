import numpy as np
import pytest

from ringfort.client.batches import minibatches
from ringfort.core import LocalTraining
from ringfort.core.errors import InvalidValue


def batches(rows, steps, batch, seed=0):
    return list(minibatches(rows, LocalTraining(steps, batch, 0.1), np.random.default_rng(seed)))


@pytest.mark.parametrize(("rows", "batch"), [(12, 4), (10, 3), (7, 7), (5, 1), (1, 1)])
def test_no_row_comes_twice_within_an_epoch(rows, batch):
    per_epoch = rows // batch
    drawn = batches(rows, 3 * per_epoch, batch)
    for epoch in range(3):
        seen = np.concatenate(drawn[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(set(seen.tolist())) == len(seen) == per_epoch * batch
        assert set(seen.tolist()) <= set(range(rows))


def test_an_epoch_whose_batches_divide_it_covers_every_row():
    assert sorted(np.concatenate(batches(12, 3, 4)).tolist()) == list(range(12))


def test_rows_that_do_not_fill_a_batch_are_not_left_out_for_good():
    drawn = np.concatenate(batches(10, 30, 4))
    assert set(drawn.tolist()) == set(range(10))


def test_every_epoch_is_shuffled_anew():
    drawn = batches(50, 4, 50)
    assert len({tuple(rows.tolist()) for rows in drawn}) == 4


@pytest.mark.parametrize("batch", [4, 5, 10**9])
def test_a_batch_is_never_larger_than_the_data(batch):
    assert [len(rows) for rows in batches(4, 3, batch)] == [4, 4, 4]


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_there_are_as_many_batches_as_steps_whatever_a_client_holds(steps):
    for rows in (1, 3, 100):
        assert len(batches(rows, steps, 8)) == steps


def test_the_order_is_a_function_of_the_generator():
    one, two, other = (np.concatenate(batches(30, 5, 7, seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_client_without_data_cannot_train():
    with pytest.raises(InvalidValue, match="at least one example"):
        batches(0, 1, 1)
