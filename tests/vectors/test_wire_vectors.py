"""The wire's frozen vectors: what was valid stays valid, what was refused stays refused, for the same reason."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from ringfort.core import Reply, Schema
from ringfort.core.errors import MalformedUpdate
from ringfort.core.wire import Broadcast, encode_update
from ringfort.rounds.gate import Gate, RoundPlan

HERE = Path(__file__).parent
FILES = {path.stem: path for path in sorted((HERE / "wire" / "v1").glob("*.json"))}
ok = pytest.mark.parametrize("name", [name for name in FILES if name.startswith("ok_")])
bad = pytest.mark.parametrize("name", [name for name in FILES if name.startswith("bad_")])


def load(name):
    vector = json.loads(FILES[name].read_text())
    schema = Schema.of({key: tuple(shape) for key, shape in vector["schema"].items()})
    plan = vector["plan"]
    return vector, RoundPlan(plan["run"], plan["round"], tuple(plan["cohort"]), plan["model"], schema, None)


def admit(vector, plan):
    frame = bytes.fromhex(vector["frame"])
    return Gate(**vector["gate"]).admit(plan, [Reply(vector["sender"], frame)])


@ok
def test_a_good_vector_is_read_to_the_very_bits(name):
    vector, plan = load(name)
    if vector["kind"] == "broadcast":
        got = Broadcast.decode(bytes.fromhex(vector["frame"]), plan.schema)
        assert (got.run, got.round, got.params.tobytes().hex()) == (plan.run, vector["round"], vector["values"])
        return
    (update,) = admit(vector, plan).updates
    assert update.delta.astype("<f4").tobytes().hex() == vector["values"]
    assert (update.client, update.round, update.num_examples) == (
        vector["sender"],
        vector["round"],
        vector["num_examples"],
    )


@ok
def test_a_good_vector_is_written_to_the_very_bytes(name):
    vector, plan = load(name)
    values = np.frombuffer(bytes.fromhex(vector["values"]), "<f4").astype(np.float32)
    if vector["kind"] == "broadcast":
        made = Broadcast.encode(plan.run, vector["round"], plan.schema.encode(values))
    else:
        to = Broadcast(plan.run, vector["round"], values, plan.model)
        made = encode_update(vector["sender"], to, values, vector["num_examples"], plan.schema)
    assert made.hex() == vector["frame"]


@ok
def test_the_safetensors_library_reads_a_good_vectors_body(name):
    vector, plan = load(name)
    frame = bytes.fromhex(vector["frame"])
    found = safetensors.numpy.load(frame[8 + int.from_bytes(frame[4:8], "big") :])
    assert {key: list(value.shape) for key, value in found.items()} == vector["schema"]
    flat = np.concatenate([found[key].reshape(-1) for key, _ in plan.schema.tensors])
    assert flat.tobytes().hex() == vector["values"]


@bad
def test_a_bad_vector_is_refused_for_the_stated_reason(name):
    vector, plan = load(name)
    if vector["kind"] == "broadcast":
        with pytest.raises(MalformedUpdate) as caught:
            Broadcast.decode(bytes.fromhex(vector["frame"]), plan.schema)
        assert (caught.value.code, caught.value.reason) == (vector["code"], vector["reason"])
        return
    outcome = admit(vector, plan)
    assert outcome.updates == ()
    (refusal,) = outcome.refusals
    assert (refusal.client, refusal.code, refusal.reason) == (vector["sender"], vector["code"], vector["reason"])
    assert len(refusal.detail) < 200
    assert refusal.detail.isprintable()


def test_the_frozen_files_are_what_the_script_writes():
    spec = importlib.util.spec_from_file_location("make_wire_vectors", HERE / "make_wire.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.vectors() == {name: json.loads(path.read_text()) for name, path in FILES.items()}


def test_at_least_a_third_of_the_vectors_are_bad_and_every_reason_of_one_message_is_among_them():
    reasons = {json.loads(path.read_text()).get("reason") for path in FILES.values()} - {None}
    assert 3 * sum(name.startswith("bad_") for name in FILES) >= len(FILES) > 90
    assert reasons == {
        *("frame", "size", "header", "keys", "dtype", "shape", "layout", "digest", "not-finite", "norm-cap"),
        *("weight-cap", "wrong-client", "not-in-cohort", "wrong-run", "wrong-round", "wrong-model"),
    }
