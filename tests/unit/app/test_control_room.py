"""The control room over a run's folder, by HTTP without a browser; tests/scenario/test_control_browser.py has one."""

import http.server
import json
import re
import sys
import threading
import time
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from ringfort.app.control.alerts import Alert, AlertRules, Command, Webhook, send
from ringfort.app.control.metrics import exposition
from ringfort.app.control.page import live
from ringfort.app.control.server import ControlRoom, control_room
from ringfort.app.tail import Tail
from ringfort.core import Failure, client_id
from ringfort.core.errors import BrokenChain, DataUnavailable, InvalidValue, TransportError
from ringfort.core.values import Action, Refusal, Verdict
from ringfort.rounds.decisions import Decisions
from ringfort.rounds.record import RoundRecord

TOKEN, HOST = "t" * 48, "127.0.0.1:8700"
EVIL = "<script>alert(1)</script>\x1b[31m\u202e"


def record(number, prev="", **changes):
    names = tuple(client_id(f"c{i}") for i in range(4))
    made = RoundRecord(
        run="run", round=number, recipe="r", cohort=names if number else (), rule="Mean()", model="m", aggregate="a",
        next_model="m", verdicts=tuple(Verdict(name, Action.ACCEPT, 0.25) for name in names) if number else (),
        refusals=(), failures=(), absent=(), metrics={"accuracy": min(0.9, 0.1 * number)}, prev=prev,
        watch=watching() if number else {},
    )  # fmt: skip
    return replace(made, **changes)


def watching(jailed=(), decided=0):
    clients = {f"c{i}": {"standing": "trusted", "reputation": 0.9} for i in range(4)}
    clients |= {name: {"standing": "quarantined", "reputation": 0.2} for name in jailed}
    evidence = {"client": "", "detector": "norm-past", "metric": "length", "observed": 9.0, "expected": 1.0}
    return {
        "barred": [],
        "standings": {"trusted": 4 - len(jailed), "quarantined": len(jailed)},
        "clients": clients,
        "evidence": [{**evidence, "client": name, "p_value": 0.001, "note": ""} for name in jailed],
        "transitions": [
            {"client": name, "round": 3, "before": "trusted", "after": "quarantined", "reasons": ["evidence p = 0.001"]}
            for name in jailed
        ],
        "decided": decided,
    }


def write(folder, records):
    with (folder / "rounds.jsonl").open("ab") as file:
        for one in records:
            file.write(one.line())


def chain(count, **last):
    made = []
    for number in range(count):
        prev = made[-1].digest if made else ""
        made.append(record(number, prev, **(last if number == count - 1 else {})))
    return made


@pytest.fixture
def run(tmp_path):
    (tmp_path / "recipe.toml").write_text(f'title = "Digits {EVIL[:25]}"\n[train]\nrounds = 9\n')
    write(tmp_path, chain(4, watch=watching(jailed=("c2",))))
    return tmp_path


@pytest.fixture
def room(run):
    return ControlRoom(Tail(run), TOKEN, (HOST,), "ada", poll_s=0.01)


@pytest.fixture
def web(room):
    client = TestClient(control_room(room), base_url=f"http://{HOST}", follow_redirects=False)
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


# --- the tail


def test_the_tail_reads_what_is_new_and_waits_for_a_line_to_be_whole(tmp_path):
    records = chain(4)
    write(tmp_path, records[:2])
    tail = Tail(tmp_path)
    assert [one.round for one in tail.look()] == [0, 1]
    assert tail.look() == []
    line = records[2].line()
    with (tmp_path / "rounds.jsonl").open("ab") as file:
        file.write(line[:40])
        file.flush()
        assert tail.look() == []
        file.write(line[40:] + records[3].line())
    assert [one.round for one in tail.look()] == [2, 3]
    assert tail.records == records


@pytest.mark.parametrize("damage", ["edited", "dropped", "cut", "other run", "not json"])
def test_a_record_that_does_not_continue_the_chain_is_trouble(tmp_path, damage):
    records = chain(3)
    write(tmp_path, records[:2])
    tail = Tail(tmp_path)
    tail.look()
    path = tmp_path / "rounds.jsonl"
    if damage == "edited":
        write(tmp_path, [replace(records[2], prev="0" * 64)])
    elif damage == "dropped":
        write(tmp_path, [record(3, records[1].digest)])
    elif damage == "cut":
        path.write_bytes(records[0].line())
    elif damage == "other run":
        write(tmp_path, [replace(records[2], run="another")])
    else:
        path.write_bytes(path.read_bytes() + b"{]\n")
    with pytest.raises(BrokenChain):
        tail.look()
    assert tail.records == records[:2]


def test_what_was_whole_before_the_damage_is_kept(tmp_path):
    records = chain(4)
    write(tmp_path, [*records[:3], replace(records[3], prev="0" * 64)])
    tail = Tail(tmp_path)
    with pytest.raises(BrokenChain, match="record 3 "):
        tail.look()
    assert tail.records == records[:3]
    with pytest.raises(BrokenChain, match="record 3 "):
        tail.look()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataUnavailable):
        Tail(tmp_path)


# --- the door


def test_nothing_is_answered_without_the_token(room):
    client = TestClient(control_room(room), base_url=f"http://{HOST}", follow_redirects=False)
    for path in ("/", "/events", "/clients/c2", "/metrics", "/readyz", "/control.js", "/control.css", "/nothing"):
        for extra in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "ringfort=wrong"}, {"Authorization": TOKEN}):
            answer = client.get(path, headers=extra)
            assert answer.status_code == 401, path
            assert "c2" not in answer.text
    assert client.post("/clients/c2", data={"action": "release"}).status_code == 401
    assert client.get("/livez").text == "ok"


def test_the_printed_address_gives_a_cookie_that_scripts_and_other_sites_do_not_get(room):
    client = TestClient(control_room(room), base_url=f"http://{HOST}", follow_redirects=False)
    assert client.get("/?token=wrong").status_code == 401
    answer = client.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:9999", "127.0.0.1", "127.0.0.1:8700.evil.example", ""])
def test_other_hosts_are_not_answered(web, host):
    assert web.get("/", headers={"Host": host}).status_code == 421
    assert web.get("/livez", headers={"Host": host}).status_code == 421


# --- the pages


def test_the_overview_shows_the_run_and_the_clients(web):
    page = web.get("/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    text = re.sub(r"<[^>]+>", " ", page.text)
    for said in ("Running", "quarantined", "Round", "of 9", "evidence p = 0.001", "1 clients were put in quarantine"):
        assert said in text
    assert "<script>alert" not in page.text
    assert page.text.count("<script") == 1


def test_a_client_page_shows_the_evidence_behind_every_change(web):
    page = web.get("/clients/c2")
    text = re.sub(r"<[^>]+>", " ", page.text)
    assert "trusted → quarantined" in text
    assert "norm-past" in text
    assert "Release, on probation" in text
    assert "Put in quarantine" in web.get("/clients/c1").text
    assert web.get("/clients/nobody").status_code == 404
    assert web.get("/clients/..%2f..%2fetc").status_code == 404


def test_hostile_words_stay_words(run, room):
    records = room.tail.records
    bad = record(
        4, records[-1].digest, refusals=(Refusal(client_id("c1"), "RF203", "signature", EVIL),),
        failures=(Failure(client_id("c3"), EVIL),), aborts=(EVIL,),
    )  # fmt: skip
    write(run, [bad])
    room.refresh(tell=True)
    drawn = live(room.scene())
    assert "&lt;script&gt;" in drawn
    assert "<script" not in drawn
    assert "\x1b" not in drawn
    assert "\u202e" not in drawn


def test_the_page_keeps_itself_up_to_date(run, room):
    async def both():
        events = room.events()
        first = await anext(events)
        write(run, [record(4, room.tail.records[-1].digest, metrics={"accuracy": 0.77})])
        room.refresh(tell=False)
        return first, await anext(events)

    import asyncio

    first, second = asyncio.run(both())
    assert "77.0%" not in json.loads(first.removeprefix("data: "))
    assert "77.0%" in json.loads(second.removeprefix("data: "))


def test_listeners_are_counted_and_capped(web, room):
    room._listening = room.subscribers
    assert web.get("/events").status_code == 503


def test_trouble_is_shown_and_the_run_is_not_ready(web, run, room):
    assert web.get("/readyz").text == "ok"
    (run / "rounds.jsonl").write_bytes(b"")
    room.refresh(tell=True)
    assert web.get("/readyz").status_code == 503
    assert "committed records were removed" in web.get("/").text


# --- decisions


def form(web, path="/clients/c2", **changes):
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', web.get(path).text)[1]
    fields = {"csrf": csrf, "action": "release", "reason": "it was a new phone", **changes}
    return {name: value for name, value in fields.items() if value is not None}


def test_a_decision_is_written_down_with_reason_and_name(web, run):
    answer = web.post("/clients/c2", data=form(web))
    assert answer.status_code == 200
    assert "takes effect before the next round" in answer.text
    [made] = Decisions(run).read()
    assert (made.action, made.client, made.reason, made.by) == ("release", "c2", "it was a new phone", "ada")
    assert "release c2 by ada: it was a new phone" in web.get("/").text
    web.post("/clients/c1", data=form(web, "/clients/c1", action="quarantine", rounds="7"))
    assert Decisions(run).read()[1].rounds == 7


@pytest.mark.parametrize(
    ("changes", "headers", "status"),
    [
        ({"csrf": "0" * 64}, {}, 403),
        ({"csrf": None}, {}, 403),
        ({"csrf": "é"}, {}, 403),
        ({}, {"Origin": "http://evil.example"}, 403),
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, {"Sec-Fetch-Site": "same-site"}, 403),
        ({"reason": ""}, {}, 400),
        ({"reason": "a\x1b[31m"}, {}, 400),
        ({"reason": "x" * 501}, {}, 400),
        ({"action": "promote"}, {}, 400),
        ({"action": "quarantine"}, {}, 400),
        ({"action": "quarantine", "rounds": "0"}, {}, 400),
        ({"action": "quarantine", "rounds": "-1"}, {}, 400),
        ({"reason": "y" * 5000}, {}, 403),
    ],
)
def test_what_is_not_a_decision_of_ours_changes_nothing(web, run, changes, headers, status):
    answer = web.post("/clients/c2", data=form(web, **changes), headers=headers)
    assert answer.status_code == status
    assert Decisions(run).read() == ()


def test_our_own_form_from_a_browser_is_taken(web, run):
    browser = {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
    assert web.post("/clients/c2", data=form(web), headers=browser).status_code == 200
    assert len(Decisions(run).read()) == 1


# --- metrics


def test_prometheus_reads_the_run(web):
    answer = web.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert "fl_round 3.0" in lines
    assert 'fl_clients{standing="quarantined"} 1.0' in lines
    assert 'fl_updates_total{decision="accept",reason=""} 12.0' in lines
    assert 'fl_model{metric="accuracy"} 0.30000000000000004' in lines
    assert 'fl_anomaly_alerts_total{kind="quarantined"} 1.0' in lines


def test_no_number_of_reasons_swells_the_labels():
    many = tuple(Refusal(client_id(f"c{i}"), "RF203", f"reason-{i}", "x") for i in range(500))
    text = exposition([*chain(2), record(2, refusals=many)], ()).decode()
    assert text.count('decision="refused"') <= 21
    assert 'reason="other"' in text
    assert "c499" not in text


# --- alerts


def told(last, before=None):
    return {alert.kind: alert for alert in AlertRules().alerts(before or chain(3), last)}


def private(epsilon):
    return {"spent": {"epsilon": epsilon}, "budget": {"epsilon": 8.0}}


def test_what_is_worth_an_alert():
    refused = tuple(Refusal(client_id(f"c{i}"), "RF203", "signature", EVIL) for i in range(2))
    assert told(record(3, watch=watching(jailed=("c1",))))["quarantined"].clients == ("c1",)
    assert told(record(3, refusals=refused))["refused"].clients == ("c0", "c1")
    assert EVIL not in str(told(record(3, refusals=refused)))
    assert "silent" in told(
        record(3, absent=(client_id("c0"), client_id("c1")), failures=(Failure(client_id("c3"), "x"),))
    )
    assert "aborted" in told(record(3, aborts=("RF501",)))
    assert "accuracy" in told(record(3, metrics={"accuracy": 0.05}))
    assert told(record(3)) == {}


def test_the_budget_is_told_once():
    before = [record(1), record(2, privacy=private(6.3))]
    assert "budget" in told(record(3, privacy=private(6.5)), before)
    assert "budget" not in told(record(4, privacy=private(6.9)), [*before, record(3, privacy=private(6.5))])


ALERT = Alert("refused", "run", 3, "2 of 4 messages were refused", ("c0", EVIL))


def test_a_command_gets_the_alert_on_its_input_and_nothing_in_its_words(tmp_path):
    out = tmp_path / "alert.json"
    script = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    Command((sys.executable, "-c", script, str(out)))(ALERT)
    value = json.loads(out.read_text())
    assert value["kind"] == "refused"
    assert "\x1b" not in value["clients"][1]
    with pytest.raises(TransportError, match="left with 3"):
        Command((sys.executable, "-c", "raise SystemExit(3)"))(ALERT)
    with pytest.raises(TransportError):
        Command(("/does/not/exist",))(ALERT)


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        if self.path == "/moved":
            self.send_response(307)
            self.send_header("Location", "/alerts")
        else:
            self.send_response(200 if self.path == "/alerts" else 500)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_posts_to_hosts_that_were_allowed_and_follows_nobody(receiver):
    base = f"http://127.0.0.1:{receiver.server_port}"
    Webhook(f"{base}/alerts", ("127.0.0.1",), private=True)(ALERT)
    assert json.loads(receiver.got[0][1])["round"] == 3
    with pytest.raises(TransportError, match="private network"):
        Webhook(f"{base}/alerts", ("127.0.0.1",))(ALERT)
    with pytest.raises(TransportError):
        Webhook(f"{base}/moved", ("127.0.0.1",), private=True)(ALERT)
    assert [path for path, _ in receiver.got] == ["/alerts", "/moved"]


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.example/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://user:pw@127.0.0.1/x",
        "127.0.0.1",
    ],
)
def test_other_addresses_are_refused_at_once(url):
    with pytest.raises(InvalidValue):
        Webhook(url, ("127.0.0.1",), private=True)


def test_delivery_is_tried_three_times_and_then_said(receiver):
    waits = []
    hook = Webhook(f"http://127.0.0.1:{receiver.server_port}/broken", ("127.0.0.1",), private=True)
    [said] = send(ALERT, [hook], waits.append)
    assert len(receiver.got) == 3
    assert waits == [1.0, 2.0]
    assert "not taken" in said


# --- the command


def test_json_lines_tell_every_round_and_end_with_the_run(ringfort, run):
    records = chain(4)
    (run / "rounds.jsonl").unlink()
    write(run, records)
    (run / "recipe.toml").write_text("[train]\nrounds = 3\n")
    result = ringfort("watch", run, "--json")
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["round"] for one in events if one["event"] == "round"] == [0, 1, 2, 3]
    assert events[-1]["digest"] == records[-1].digest


def test_what_cannot_be_watched_is_refused(ringfort, tmp_path):
    result = ringfort("watch", tmp_path / "nothing")
    assert result.exit_code != 0
    assert "RF106" in result.stderr


def test_the_server_serves_until_it_is_stopped(run, tmp_path):
    import signal
    import subprocess
    import urllib.request

    process = subprocess.Popen(
        [sys.executable, "-c", "from ringfort.app.main import main; main()", "watch", str(run), "--by", "ada"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        until = time.monotonic() + 30
        while True:
            try:
                opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
                page = opener.open(address, timeout=5).read().decode()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        assert "Ringfort control room" in page
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
