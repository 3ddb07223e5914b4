"""`ringfort log receipts`: what a client can show against its server, from folders, and what the command says of it."""

import json
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from ringfort.app.main import app
from ringfort.core.values import Refusal
from ringfort.identity import Receipt, seal_receipt
from ringfort.rounds.journal import read_records

RECEIPTS = "receipts.jsonl"


@pytest.fixture
def told(town):
    """A federation of three rounds that is over."""
    town.run(rounds=3)
    town.server.close()
    return town


def ringfort(town, *more, kept=None):
    names = town.names if kept is None else kept
    words = ["--registry", town.people.registry, "--authority", town.people.authority.hex()]
    words += [word for name in names for word in ("--kept", f"{name}={town.folder / 'kept' / name}")]
    return CliRunner().invoke(app, ["log", "receipts", *map(str, (town.folder / "run", *words, *more))])


def faults(town, **given):
    """(kind, client, round) of every fault, and the exit code."""
    done = ringfort(town, "--json", **given)
    value = json.loads(done.stdout)
    assert (done.exit_code == 3) == ("RF701" in done.stderr) == bool(value["faults"])
    return [(fault["kind"], fault["client"], fault["round"]) for fault in value["faults"]], done.exit_code


def edited(path, change):
    """The lines of a file as JSON, changed."""
    lines = change([json.loads(line) for line in path.read_bytes().splitlines()])
    path.write_bytes(
        b"".join(json.dumps(line, separators=(",", ":"), sort_keys=True).encode() + b"\n" for line in lines)
    )


def rewritten(town, number, **changes):
    """The journal of a server that lied from round `number` on: its chain holds."""
    out = []
    for record in read_records(town.folder / "run")[0]:
        made = replace(record, **(changes if record.round == number else {}))
        out.append(replace(made, prev=out[-1].digest) if out else made)
    (town.folder / "run" / "rounds.jsonl").write_bytes(b"".join(record.line() for record in out))


def test_an_honest_run(told):
    done = ringfort(told)
    assert done.exit_code == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "clients checked 5 of 5" in lines
    assert "acknowledged 15 answers, each with the server's receipt" in lines
    assert {"counted 15", "left out 0", "faults none", "names believed by the key that was given"} <= set(lines)
    value = json.loads(ringfort(told, "--json").stdout)
    assert (value["acknowledged"], value["counted"], value["unacknowledged"], value["missing"]) == (15, 15, 0, {})


def test_every_number_of_one_run(told):
    first, *rest = read_records(told.folder / "run")[0][2].verdicts
    rewritten(told, 2, verdicts=tuple(rest), refusals=(Refusal(first.client, "RF205", "norm-cap", "too long"),))
    kept = told.folder / "kept" / "c1" / RECEIPTS
    kept.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[:-1]))  # the last receipt never came
    journal = told.folder / "run" / "rounds.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))  # round 3 was not committed
    value = json.loads(ringfort(told, "--json").stdout)
    counts = {name: value[name] for name in ("acknowledged", "counted", "left_out", "pending", "unacknowledged")}
    assert counts == {"acknowledged": 14, "counted": 9, "left_out": 1, "pending": 4, "unacknowledged": 1}
    assert value["faults"] == []


def test_a_repeated_round_supersedes_what_was_said_to_it(told):
    def again(lines):
        """c0's answer to round 3 was to an attempt before the one that all others answered."""
        low = min(line["number"] for line in lines if line["said"]["round"] == 3) - 1
        mine = [line for line in lines if (line["client"], line["said"]["round"]) == ("c0", 3)]
        return [line | {"number": low} if line in mine else line for line in lines]

    edited(told.folder / "run" / "taken.jsonl", again)
    value = json.loads(ringfort(told, "--json").stdout)
    assert (value["superseded"], value["counted"], value["faults"]) == (1, 14, [])


def test_an_acknowledged_update_that_the_records_leave_out(told):
    rewritten(told, 2, verdicts=read_records(told.folder / "run")[0][2].verdicts[1:], absent=("c0",))
    assert faults(told) == ([("dropped", "c0", 2)], 3)
    done = ringfort(told)
    assert "whose record does not count or refuse it" in done.stdout
    assert "dropped" in done.stderr
    assert faults(told, kept=told.names[1:]) == ([], 0), "only c0 can show it"


def test_an_answer_that_the_server_no_longer_shows(told):
    path = told.folder / "run" / "taken.jsonl"
    edited(path, lambda lines: [x for x in lines if (x["client"], x["said"]["round"]) != ("c0", 2)])
    assert faults(told) == ([("unsigned", "c0", 2), ("dropped", "c0", 2)], 3)


def test_a_record_that_was_edited_is_no_journal(told):
    path = told.folder / "run" / "rounds.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"absent":[]', b'"absent":["c0"]', 1))
    done = ringfort(told)
    assert (done.exit_code, "rounds.jsonl" in done.stderr) == (3, True)


def test_a_forged_receipt(told):
    path = told.folder / "kept" / "c0" / RECEIPTS

    def forged(lines):
        from ringfort.audit.history import read_kept

        said, _ = read_kept("c0", path.parent).answers[1]
        own = seal_receipt(
            told.people.key("c0"), "coordinator", said.place, said.head, Receipt("c0", told.now, "taken")
        )
        lines[3] = {"receipt": own.hex()}
        return lines

    edited(path, forged)
    assert faults(told) == ([("forged-receipt", "c0", 2)], 3)


def test_a_client_cannot_accuse_its_server_with_what_another_said(told):
    kept = told.folder / "kept"
    shutil.copy(kept / "c1" / RECEIPTS, kept / "c0" / RECEIPTS)
    found, code = faults(told)
    assert (found, code) == ([("foreign", "c0", number) for number in (1, 2, 3)], 3)


def test_who_shows_nothing_is_named(told):
    done = ringfort(told, kept=told.names[1:])
    assert done.exit_code == 0
    assert "checked 4 of 5" in done.stdout
    assert "c0: nothing that it kept was given" in done.stdout
    value = json.loads(ringfort(told, "--json", kept=told.names[1:]).stdout)
    assert (value["checked"], list(value["missing"])) == (["c1", "c2", "c3", "c4"], ["c0"])


def test_one_clients_damaged_folder_is_named_and_stops_no_other(told):
    (told.folder / "kept" / "c0" / RECEIPTS).write_bytes(b"{}\n")
    (told.folder / "kept" / "c1" / RECEIPTS).unlink()
    done = ringfort(told)
    assert done.exit_code == 0
    assert "checked 3 of 5" in done.stdout
    assert "c0: line 1 of receipts.jsonl" in done.stdout
    assert "c1: cannot read" in done.stdout


def test_who_shows_less_than_it_said_is_named(told):
    path = told.folder / "kept" / "c0" / RECEIPTS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    done = ringfort(told)
    assert (done.exit_code, "c0 kept 2 answers fewer than the server shows" in done.stdout) == (0, True)


def test_nobody_to_compare_with_is_no_check(told):
    done = ringfort(told, "--kept", f"c0={told.folder / 'nothing'}", kept=())
    assert (done.exit_code, "RF104" in done.stderr) == (2, True)
    assert ringfort(told, kept=()).exit_code == 2


def test_a_name_in_the_servers_list_does_not_drive_the_terminal(told):
    bad = "c9\x1b[2J\n"
    edited(told.folder / "run" / "taken.jsonl", lambda lines: [*lines, lines[0] | {"client": bad}])
    done = ringfort(told)
    assert done.exit_code == 3
    assert "\x1b" not in done.stdout + done.stderr


class TestWhoseKey:
    def test_the_authority_as_a_file_a_members_folder_or_its_pins(self, told, tmp_path):
        (tmp_path / "authority.pub").write_text(told.people.authority.hex() + "\n")
        home = told.people.folder / "homes" / "c3"
        for given in (tmp_path / "authority.pub", home, home / "federation.json"):
            done = ringfort(told, "--authority", given)
            assert (done.exit_code, "the key that was given" in done.stdout) == (0, True)

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (("--authority", "00" * 32), 3, "RF701"),
            (("--authority", "nobody"), 2, "64 hexadecimal"),
            (("--server", "c0"), 2, "c0 is enrolled as a client"),
            (("--server", "north"), 3, "nobody called"),
            (("--registry", "nowhere.jsonl"), 3, "cannot read"),
            (("--kept", "c0"), 2, "NAME=FOLDER"),
            (("--kept", "c0=elsewhere"), 2, "twice"),
            (("--kept", "../c0=elsewhere"), 2, "RF104"),
        ],
    )
    def test_what_proves_nothing_is_refused(self, told, words, code, said):
        done = ringfort(told, *words)
        assert (done.exit_code, said in done.stderr) == (code, True), done.stderr

    def test_a_run_of_an_organisation_needs_its_registry_and_its_key(self, told):
        run = str(told.folder / "run")
        done = CliRunner().invoke(app, ["log", "receipts", run])
        assert (done.exit_code, "--registry" in done.stderr) == (2, True)
        done = CliRunner().invoke(app, ["log", "receipts", run, "--registry", str(told.people.registry)])
        assert (done.exit_code, "--authority" in done.stderr) == (2, True)

    def test_a_run_without_signatures_has_no_list(self, told):
        (told.folder / "run" / "taken.jsonl").unlink()
        done = ringfort(told)
        assert (done.exit_code, "taken.jsonl" in done.stderr) == (3, True)
