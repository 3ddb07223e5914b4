"""A node of the quick start. Some may be told to be hostile, so that there is something to see."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from ringfort_flower.task import Net, load_data, train

app = ClientApp()


@app.train()
def fit(message: Message, context: Context) -> Message:
    """Train on this node's shard."""
    net = Net()
    start = message.content["arrays"].to_torch_state_dict()
    net.load_state_dict(start)
    here, of = context.node_config["partition-id"], context.node_config["num-partitions"]
    inputs, labels = load_data(here, of)
    loss = train(net, inputs, labels, context.run_config["learning-rate"])
    state = net.state_dict()
    if here < context.run_config["hostile"]:
        state = {name: start[name] - 20 * (tensor - start[name]) for name, tensor in state.items()}
    metrics = MetricRecord({"num-examples": len(labels), "loss": loss})
    return Message(RecordDict({"arrays": ArrayRecord(state), "metrics": metrics}), reply_to=message)


torch.set_num_threads(1)
