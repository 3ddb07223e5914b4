"""The two classes that a job names, without a job: who may call, one message at a time, nothing escapes."""

import json
import sys
import threading
from types import SimpleNamespace

import cbor2
import pytest

pytest.importorskip("nvflare")

from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.engine.nvflare import site as module
from ringfort.engine.nvflare.job import write_job

HERE = sys.modules[__name__]


class Node:
    client = "ada"

    def __init__(self, answer):
        self.answer = answer

    def handle(self, stage, payload):
        return self.answer(stage, payload)


@pytest.fixture
def site(monkeypatch, tmp_path):
    """A client's site whose profile names `make` here; `collab` says who calls."""
    (tmp_path / "local").mkdir()
    workspace = SimpleNamespace(get_site_config_dir=lambda: str(tmp_path / "local"))
    collab = SimpleNamespace(caller="server", site_name="ada", workspace=workspace)
    monkeypatch.setattr(module, "collab", collab)
    monkeypatch.setitem(sys.modules, "a_sites_own_module", SimpleNamespace(make=lambda said: Node(said["answer"])))

    def begun(answer, recipe="digest", agreed="digest", make="a_sites_own_module:make"):
        profile = {"v": 1, "recipe": agreed, "make": make, "arguments": {}}
        (tmp_path / "local" / "ringfort.json").write_text(json.dumps(profile))
        sys.modules["a_sites_own_module"].make = lambda said: Node(answer)
        made = module.ClientSite("job-1", recipe)
        made.begin()
        return made

    return SimpleNamespace(begun=begun, collab=collab, folder=tmp_path)


def said(packed):
    return cbor2.loads(packed)


def test_the_server_is_answered(site):
    made = site.begun(lambda stage, payload: payload[::-1])
    assert said(made.handle("train", b"abc")) == ["reply", b"cba"]


@pytest.mark.parametrize("caller", ["bob", "ada", "", "Server", "server2"])
def test_nobody_but_the_server_may_call(site, caller):
    asked = []
    made = site.begun(lambda stage, payload: asked.append(stage) or b"")
    site.collab.caller = caller
    assert said(made.handle("train", b""))[:2] == ["failure", "only the server may call"]
    assert not asked


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), MemoryError("m")], ids=repr)
def test_nothing_escapes(site, error):
    def breaks(stage, payload):
        raise error

    made = site.begun(breaks)
    word, text, _ = said(made.handle("train", b""))
    assert (word, text.startswith(type(error).__name__)) == ("failure", True)


@pytest.mark.parametrize(("stage", "body"), [(1, b""), ("train", "text"), (None, None), ("train", [1])])
def test_only_a_name_and_bytes_are_taken(site, stage, body):
    made = site.begun(lambda *_: b"")
    assert said(made.handle(stage, body))[0] == "failure"


def test_a_job_for_another_recipe_is_refused_and_the_node_is_never_made(site):
    made = site.begun(lambda *_: b"", recipe="another")
    word, text, _ = said(made.handle("train", b""))
    assert word == "failure"
    assert "another recipe" in text


@pytest.mark.parametrize("make", ["no_such_module:x", "a_sites_own_module:nothing", "a_sites_own_module", ""])
def test_a_profile_that_names_nothing_is_told_at_every_call_and_ends_no_job(site, make):
    made = site.begun(lambda *_: b"", make=make)
    assert said(made.handle("train", b""))[0] == "failure"
    assert said(made.handle("train", b""))[0] == "failure"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 2, "recipe": "d", "make": "m:f", "arguments": {}}'])
def test_a_profile_with_other_keys_is_no_profile(tmp_path, text):
    (tmp_path / "ringfort.json").write_text(text)
    with pytest.raises((InvalidValue, ValueError)):
        module._profile(tmp_path, "d")


def test_the_profile_decides_and_not_the_job(tmp_path):
    (tmp_path / "ringfort.json").write_text(json.dumps({"v": 1, "recipe": "d", "make": "m:f", "arguments": {}}))
    with pytest.raises(Incompatible):
        module._profile(tmp_path, "e")


def test_one_message_at_a_time_and_one_that_waited_is_dropped_for_a_newer_one(site):
    begun, go, worked = threading.Event(), threading.Event(), []

    def slow(stage, payload):
        begun.set()
        assert go.wait(10)
        worked.append(payload)
        return payload

    made = site.begun(slow)
    out = {}
    threads = [
        threading.Thread(target=lambda n=n: out.update({n: said(made.handle("train", n))})) for n in (b"1", b"2")
    ]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    while made._newest < 2:
        pass
    third = threading.Thread(target=lambda: out.update({b"3": said(made.handle("train", b"3"))}))
    third.start()
    while made._newest < 3:
        pass
    go.set()
    for thread in (*threads, third):
        thread.join(10)
    assert out[b"1"] == ["reply", b"1"]
    assert "newer message" in out[b"2"][1]
    assert out[b"3"] == ["reply", b"3"]
    assert worked == [b"1", b"3"]


def test_a_job_is_configuration_alone_and_names_our_classes_only(tmp_path):
    from ringfort.engine.nvflare.kit import ALLOWED

    folder = write_job(tmp_path / "job", "job-1", "digest", ("ada", "bob"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json"}
    assert not list(folder.rglob("custom"))
    named = set()

    def walk(value):
        if isinstance(value, dict):
            if "path" in value:
                named.add(value["path"])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    for path in files:
        walk(json.loads(path.read_text()))
    assert named == set(ALLOWED)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["deploy_map"] == {"at_server": ["server"], "at_client": ["ada", "bob"]}
    with pytest.raises(InvalidValue):
        write_job(tmp_path / "job", "job-1", "digest", ())


def test_no_decoder_of_tensors_is_registered():
    assert sys.modules["nvflare.app_opt.pt.decomposers"] is None
