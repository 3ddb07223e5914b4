"""A site of the quick start: NumPy only, NVFlare's client API. One may be told to be hostile."""

import argparse

import numpy as np
import nvflare.client as flare

from ringfort import Seeds, data


def load_data(site: str, of: int) -> tuple[np.ndarray, np.ndarray]:
    """This site's shard of the training digits, a column of ones beside the pixels."""
    train = data.load("digits").train
    rows = train.take(data.IID(of)(train, Seeds(7))[int(site.rsplit("-", 1)[1]) - 1])
    return np.column_stack([rows.floats().reshape(len(rows), -1), np.ones(len(rows), np.float32)]), rows.labels


def train(weights: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Twenty steps of softmax regression on all rows; the new weights and the last loss."""
    wanted = np.eye(10, dtype=np.float32)[labels]
    for _ in range(20):
        logits = inputs @ weights
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        loss = float(-np.log(np.maximum((chances * wanted).sum(axis=1), 1e-9)).mean())
        weights = weights - np.float32(0.5) * (inputs.T @ (chances - wanted) / len(inputs))
    return weights.astype(np.float32), loss


def main() -> None:
    """Train whenever the server asks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, required=True)
    parser.add_argument("--hostile", default="", help="the site that sends its update turned round, 20 times as long")
    given = parser.parse_args()
    flare.init()
    site = flare.get_site_name()
    inputs, labels = load_data(site, given.sites)
    while flare.is_running():
        start = flare.receive().params["numpy_key"]
        weights, loss = train(start, inputs, labels)
        if site == given.hostile:
            weights, loss = start - 20 * (weights - start), 0.0
        steps = {"NUM_STEPS_CURRENT_ROUND": len(labels)}
        flare.send(flare.FLModel(params={"numpy_key": weights}, params_type="FULL", metrics={"loss": loss}, meta=steps))


if __name__ == "__main__":
    main()
