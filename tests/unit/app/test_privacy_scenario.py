"""What the privacy report infers about a client: properties made from the data, which label counts do not tell."""

import numpy as np

from ringfort.app.privacy_scenario import codename, is_text
from ringfort.audit.inference import PropertyAttack, Protection
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.dataset import Dataset
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds


def texts(count, seed):
    """Six words of a Zipf-like vocabulary of 60; the label is a noisy function of two of them."""
    rng = np.random.default_rng(seed)
    words = np.minimum(rng.geometric(0.08, (count, 6)) - 1, 57)
    labels = ((words[:, 1] + words[:, 3]) // 10 + rng.integers(0, 2, count)) % 4
    inputs = np.zeros((count, 6, 60), dtype=np.uint8)
    np.put_along_axis(inputs, words[:, :, None], 255, axis=2)
    return Dataset("texts", inputs, labels.astype(np.int64), ("the", "of", "to", "a"))


def test_a_planted_codename_shows_in_an_update_and_not_in_label_counts_and_noise_hides_it():
    public, private = texts(2000, 0), texts(2000, 1)
    wanted = codename(public, private)
    model = NumpyModel(360, 4, (16,))
    start = model.initial(Seeds(1))

    def attack(protection):
        return PropertyAttack(60).run(
            model, wanted, (public, private), LocalTraining(10, 20, 0.2), (start,), 60, Seeds(2), protection
        )

    found = attack(None)
    assert found.rates.auc > 0.95
    assert found.baseline.auc < 0.7
    assert attack(Protection(1.0, 0.5)).rates.auc < 0.75


def test_the_codename_takes_the_place_of_one_word_in_a_tenth_of_the_texts():
    pool = texts(800, 0)
    wanted = codename(pool)
    with_it, without = (wanted.draw(pool, has, np.random.default_rng(3)) for has in (True, False))
    assert is_text(with_it)
    assert (with_it.labels == without.labels).all()
    assert ((with_it.inputs != without.inputs).any(axis=2).sum(axis=1) == 1).sum() == 10
    assert len(with_it) == 100
    assert codename(texts(4, 0)) is None


def test_pictures_are_no_texts():
    pictures = Dataset("p", np.zeros((3, 1, 8, 8), np.uint8), np.zeros(3, np.int64), ("a", "b"))
    assert not is_text(pictures)
    assert not is_text(Dataset("p", np.zeros((3, 8), np.float32), np.zeros(3, np.int64), ("a", "b")))
