"""The server of the quick start: three lines are Ringfort's."""

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

import ringfort as rf
from ringfort.engine.flower import RingfortStrategy
from ringfort_flower.task import Net, accuracy, load_data

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation."""
    test = load_data(None)

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        net = Net()
        net.load_state_dict(arrays.to_torch_state_dict())
        found = accuracy(net, *test)
        print(f"round {server_round}: accuracy {found:.3f}", flush=True)  # noqa: T201
        return MetricRecord({"accuracy": found})

    nodes = {"min_train_nodes": 5, "min_available_nodes": 5, "fraction_evaluate": 0.0}
    if context.run_config["guarded"]:
        gate = rf.Gate(max_norm=1_000.0, max_examples=10_000)
        strategy = RingfortStrategy(rf.Defence(rf.MultiKrum(f=1)), gate, f=1, run=context.run_config["run"], **nodes)
    else:
        strategy = FedAvg(**nodes)
    rounds = context.run_config["num-server-rounds"]
    strategy.start(grid, ArrayRecord(Net().state_dict()), num_rounds=rounds, evaluate_fn=evaluate)
