"""The operator's session is a process: one that hangs or dies is replaced, and nobody waits for it."""

import sys
import time

import pytest

from ringfort.core.errors import TransportError
from ringfort.engine.nvflare import session as module
from ringfort.engine.nvflare.session import Session

SERVER = """
import json, os, sys, time
kit, name = sys.argv[1:]
print(json.dumps({"said": "ready"}), flush=True)
for line in sys.stdin:
    what, *words = json.loads(line)
    if words == ["hang"]:
        time.sleep(60)
    if words == ["die"]:
        os._exit(1)
    if words == ["refuse"]:
        print(json.dumps({"error": "not now"}), flush=True)
        continue
    print(json.dumps({"said": ["hospital-1", name] if what == "connected" else " ".join([what, *words])}), flush=True)
"""


@pytest.fixture
def begin(monkeypatch):
    made = []

    def session(code=SERVER, within_s=0.0):
        monkeypatch.setattr(module, "_COMMAND", [sys.executable, "-c", code])
        made.append(Session("kit", "operator@example", within_s, lambda: None))
        return made[-1]

    monkeypatch.setattr(module, "_LOGIN_S", 20.0)
    monkeypatch.setattr(module, "_ANSWER_S", 0.5)
    monkeypatch.setattr(module, "_STATUS_S", 0.5)
    yield session
    for each in made:
        each.close()


def test_what_is_asked_is_answered_in_order(begin):
    session = begin()
    assert session.connected() == {"hospital-1", "operator@example"}
    assert session.submit("folder") == "submit folder"
    assert session.status("job") == "status job"
    session.abort("job")
    assert session.status("job") == "status job"


@pytest.mark.parametrize("how", ["hang", "die"])
def test_a_session_that_hangs_or_dies_is_replaced(begin, monkeypatch, how):
    session = begin()
    first = session._process
    with pytest.raises(TransportError, match="no answer"):
        session.abort(how)
    assert first.poll() is not None, "it was left behind"
    with pytest.raises(TransportError, match="ended"):
        session.status("job")  # nobody logs in again in the middle of a job only to ask this
    monkeypatch.setattr(module, "_ANSWER_S", 20.0)
    assert session.connected() == {"hospital-1", "operator@example"}
    assert session.status("job") == "status job"


def test_what_the_server_refuses_is_said_and_the_session_goes_on(begin):
    session = begin()
    with pytest.raises(TransportError, match="abort: not now"):
        session.abort("refuse")
    assert session.status("job") == "status job"


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "raise SystemExit(1)", 'print(\'{"error": "who?"}\')'])
def test_a_server_that_lets_nobody_in_is_an_error_in_time(begin, monkeypatch, code):
    monkeypatch.setattr(module, "_LOGIN_S", 0.5)
    started = time.monotonic()
    with pytest.raises(TransportError, match="did not answer its operator"):
        begin(code)
    assert time.monotonic() - started < 30


def test_close_leaves_no_process(begin):
    session = begin()
    process = session._process
    session.close()
    session.close()
    assert process.returncode is not None
