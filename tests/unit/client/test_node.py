import sys
from subprocess import run

import numpy as np
import pytest

from ringfort.client import LocalClient, NumpyModel, client_names, local_clients
from ringfort.core import Dataset, LocalTraining, Seeds, client_id
from ringfort.core.errors import InvalidValue, MalformedUpdate, TransportError
from ringfort.core.wire import Broadcast, open_frame, verify_body

MODEL, PLAN = NumpyModel(4, 3), LocalTraining(3, 5, 0.1)
PARAMS = np.random.default_rng(0).standard_normal(MODEL.schema.d).astype(np.float32)


def make(name="ada", seed=1):
    rng = np.random.default_rng(5)
    data = Dataset("toy", rng.random((9, 4), np.float32), rng.integers(0, 3, 9), ("a", "b", "c"))
    return LocalClient(client_id(name), MODEL, data, PLAN, Seeds(seed))


def ask(client, round=2):
    return client.handle("train", Broadcast.encode("run-1", round, MODEL.schema.encode(PARAMS)))


def test_a_client_answers_with_its_training_from_the_broadcast_model():
    client = make()
    header, body = open_frame(ask(client), "update", max_body_bytes=MODEL.schema.encoded_bytes)
    verify_body(header, body)
    assert (header.client, header.run, header.round, header.num_examples) == ("ada", "run-1", 2, 9)
    expected = MODEL.train(PARAMS, client.data, PLAN, Seeds(1).child("train", 2, "ada"))
    assert np.array_equal(MODEL.schema.decode(body), expected)


def test_an_answer_is_a_function_of_seed_round_and_name():
    assert ask(make()) == ask(make())
    bodies = {ask(make())[-60:], ask(make(), round=3)[-60:], ask(make("bob"))[-60:], ask(make(seed=2))[-60:]}
    assert len(bodies) == 4


@pytest.mark.parametrize("stage", ["", "Train", "evaluate", "train "])
def test_a_stage_that_the_client_does_not_know_is_refused(stage):
    with pytest.raises(TransportError, match="cannot answer stage"):
        make().handle(stage, b"")


def test_a_damaged_or_foreign_broadcast_is_never_trained_on():
    good = Broadcast.encode("run-1", 2, MODEL.schema.encode(PARAMS))
    other = NumpyModel(3, 4)
    foreign = Broadcast.encode("run-1", 2, other.schema.encode(np.zeros(other.schema.d, np.float32)))
    for bad in (b"", good[:-1], good[:-1] + bytes([good[-1] ^ 1]), foreign, ask(make())):
        with pytest.raises(MalformedUpdate):
            make().handle("train", bad)


def test_a_client_does_not_show_its_data_when_printed():
    assert "0.8050" not in repr(make())
    assert "Dataset" not in repr(make())


def test_the_client_package_does_not_import_torch():
    code = "import sys, ringfort.client, ringfort.engine, ringfort.rounds; sys.exit('torch' in sys.modules)"
    run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize("count", [1, 9, 10, 100, 101])
def test_the_order_of_names_is_the_order_of_numbers(count):
    names = client_names(count)
    assert len(set(names)) == count
    assert list(names) == sorted(names)
    assert names[0].startswith("client-0")


def test_every_client_gets_a_copy_of_its_own_rows():
    whole = make().data
    parts = [np.array([3, 1]), np.array([0])]
    clients = local_clients(whole, parts, MODEL, PLAN, Seeds(1))
    assert [client.client for client in clients] == ["client-00", "client-01"]
    for client, rows in zip(clients, parts, strict=True):
        assert np.array_equal(client.data.inputs, whole.inputs[rows])
        assert not np.shares_memory(client.data.inputs, whole.inputs)


def test_a_federation_without_clients_has_no_names():
    with pytest.raises(InvalidValue, match="at least one client"):
        client_names(0)
