"""NVFlare's NumPy quick start on real digits, in its simulator, one site of five hostile. See docs/nvflare-recipe.md.

python examples/nvflare/job.py              guarded by Ringfort
python examples/nvflare/job.py --bare       NVFlare's own FedAvg
"""

import argparse
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.sim_env import SimEnv

from ringfort import data
from ringfort.engine.nvflare.aggregator import RingfortAggregator

SITES = 5


def accuracy(weights: np.ndarray) -> float:
    """The share of right answers on the test digits."""
    test = data.load("digits").test
    inputs = np.column_stack([test.floats().reshape(len(test), -1), np.ones(len(test), np.float32)])
    return float(((inputs @ weights).argmax(axis=1) == test.labels).mean())


def main() -> None:
    """Run the job, and measure its model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bare", action="store_true", help="without Ringfort")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", type=Path, default=Path("run"), help="where Ringfort keeps records and models")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"), help="where NVFlare works")
    given = parser.parse_args()
    guarded = RingfortAggregator(
        rule="multi-krum", f=1, max_norm=1_000.0, max_examples=10_000, run=str(given.run.resolve())
    )
    recipe = NumpyFedAvgRecipe(
        name="digits",
        model=np.zeros((65, 10)).tolist(),
        min_clients=SITES,
        num_rounds=given.rounds,
        train_script=str(Path(__file__).with_name("client.py")),
        train_args=f"--sites {SITES} --hostile site-1",
        aggregator=None if given.bare else guarded,
        key_metric="",
    )
    done = recipe.execute(SimEnv(num_clients=SITES, workspace_root=str(given.workspace.resolve())))
    [model] = Path(done.get_result()).rglob("models/server.npy")
    print(f"accuracy {accuracy(np.load(model)):.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
