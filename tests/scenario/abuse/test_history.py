"""The history checker, and twins of a federation that each tell one lie: it names every one of them."""

from dataclasses import replace

import pytest

from ringfort.audit.history import Keys, check_history, read_kept, read_taken
from ringfort.core.errors import BrokenChain
from ringfort.core.values import Action, Refusal, Verdict
from ringfort.identity import Receipt, seal_receipt, seal_update
from ringfort.privacy import Budget, Everyone, Gaussian, Neighbouring, Unit
from ringfort.privacy.ledger import Account, Entry
from ringfort.rounds import Journal


def rechained(records):
    """The same records with a hash chain that holds, as a server that lies from the start would have it."""
    out = [records[0]]
    for record in records[1:]:
        out.append(replace(record, prev=out[-1].digest))
    return out


class Told:
    """What a federation of three rounds left behind; each part can be replaced by a lie."""

    def __init__(self, town):
        town.run(rounds=3)
        town.server.close()
        self.town = town
        with Journal(town.folder / "run") as journal:
            self.records = list(journal.records)
        self.taken = list(read_taken(town.folder / "run"))
        self.kept = {name: read_kept(name, town.folder / "kept" / name) for name in town.names}
        self.keys = Keys.of(town.people.view().state(town.now), town.people.authority, town.people.server)

    def faults(self, **given):
        checked = check_history(rechained(self.records), self.taken, self.kept.values(), self.keys, **given)
        return [(fault.kind, fault.client, fault.round) for fault in checked.faults]

    def change(self, number, **changes):
        self.records[number] = replace(self.records[number], **changes)


@pytest.fixture
def told(town):
    return Told(town)


def test_an_honest_history_has_no_fault(told):
    assert told.faults() == []
    checked = told.town.history()
    assert (checked.acknowledged, checked.counted, checked.unacknowledged) == (15, 15, 0)
    checked.require()


def test_an_update_counted_twice(told):
    verdicts = told.records[2].verdicts
    told.change(2, verdicts=(*verdicts, verdicts[0]))
    assert told.faults() == [("counted-twice", "c0", 2)]
    with pytest.raises(BrokenChain, match="counted-twice"):
        check_history(rechained(told.records), told.taken, told.kept.values(), told.keys).require()


def test_an_update_counted_again_in_the_next_round(told):
    """c0 did not answer round 3, and the server counts what it said in round 2 once more."""
    told.taken = [a for a in told.taken if (a.client, a.said.place.round) != ("c0", 3)]
    told.kept["c0"] = replace(told.kept["c0"], answers=told.kept["c0"].answers[:2])
    assert told.faults() == [("unsigned", "c0", 3)]


def test_an_acknowledged_update_that_was_dropped(told):
    told.change(2, verdicts=told.records[2].verdicts[1:], absent=("c0",))
    assert told.faults() == [("dropped", "c0", 2)]


def test_an_acknowledged_update_that_the_server_never_saw(told):
    told.change(2, verdicts=told.records[2].verdicts[1:], absent=("c0",))
    told.taken = [a for a in told.taken if (a.client, a.said.place.round) != ("c0", 2)]
    assert told.faults() == [("dropped", "c0", 2)]


def test_what_was_refused_or_left_out_is_no_fault(told):
    first, *rest = told.records[2].verdicts
    told.change(2, verdicts=tuple(rest), refusals=(Refusal("c0", "RF205", "norm-cap", "too long"),))
    told.change(3, verdicts=(Verdict("c0", Action.EXCLUDE, 0.0), *told.records[3].verdicts[1:]))
    assert told.faults() == []
    assert first.client == "c0"


def test_a_forged_receipt(told):
    said, _ = told.kept["c0"].answers[1]
    own = told.town.people.key("c0")
    forged = seal_receipt(own, "coordinator", said.place, said.head, Receipt("c0", told.town.now, "taken"))
    told.kept["c0"] = replace(told.kept["c0"], answers=(told.kept["c0"].answers[0], (said, forged)))
    assert told.faults() == [("forged-receipt", "c0", 2)]


def test_a_receipt_for_something_else(told):
    (one, first), (two, _), _ = told.kept["c0"].answers
    told.kept["c0"] = replace(told.kept["c0"], answers=((one, first), (two, first)))
    assert told.faults() == [("forged-receipt", "c0", 2)]


def test_an_answer_that_the_server_made_up(told):
    answer = next(a for a in told.taken if (a.client, a.said.place.round) == ("c0", 3))
    made = seal_update(told.town.people.key("coordinator"), "c0", answer.said.place, b"what the server likes")
    told.taken[told.taken.index(answer)] = replace(answer, said=replace(answer.said, head=made[:-21]))
    assert set(told.faults()) == {("forged", "c0", 3), ("unsigned", "c0", 3), ("dropped", "c0", 3)}


def test_an_answer_that_is_shown_for_another_round(told):
    old = next(a for a in told.taken if (a.client, a.said.place.round) == ("c0", 2))
    new = next(a for a in told.taken if (a.client, a.said.place.round) == ("c0", 3))
    told.taken[told.taken.index(new)] = replace(new, said=replace(new.said, head=old.said.head))
    assert ("forged", "c0", 3) in told.faults()


def test_a_round_that_is_missing(told):
    del told.records[2]
    assert ("not-monotone", "", 3) in told.faults()


def test_somebody_counted_who_was_absent(told):
    told.change(2, absent=("c0",))
    assert told.faults() == [("contradiction", "c0", 2)]


def test_a_client_with_no_receipts_is_told_apart(told):
    told.kept["c0"] = replace(told.kept["c0"], answers=tuple((said, b"") for said, _ in told.kept["c0"].answers))
    checked = check_history(told.records, told.taken, told.kept.values(), told.keys)
    assert (checked.acknowledged, checked.unacknowledged, checked.faults) == (12, 3, ())


def test_signatures_from_before_a_rotation_still_count(town):
    town.run(rounds=1)
    with town.people.writer() as registry:
        home = town.people.home("c0")
        home.accept(registry.admit(home.follow(new_keys=True).encode(), town.now), town.now)
    town.restart_client("c0")
    town.run(rounds=2)
    town.server.close()
    assert town.history().faults == ()
    assert town.history().counted == 10


class TestLedgers:
    BUDGET = Budget(50.0, 1e-5, Neighbouring.ZERO_OUT, Unit.CLIENT)

    def account(self, run, rounds, clients=None):
        entries = tuple(Entry(number, {"update": 1}, clients) for number in rounds)
        return Account(run, self.BUDGET, {"update": Gaussian(4.0, Everyone(10), 0.0)}, entries, "head")

    def test_a_clients_release_that_its_ledger_does_not_know(self, told):
        run = told.records[0].run
        whole = self.account(run, (1, 2, 3), ("c0",))
        assert told.faults(ledgers={"c0": whole}) == []
        cut = self.account(run, (1, 3), ("c0",))
        assert told.faults(ledgers={"c0": cut}) == [("under-counted", "c0", 2)]
        others = self.account(run, (1, 2, 3), ("c1",))
        assert len(told.faults(ledgers={"c0": others})) == 3

    def test_a_round_that_the_runs_ledger_does_not_know(self, told):
        run = told.records[0].run
        whole = self.account(run, (1, 2, 3))
        for number, spent in whole.curve():
            told.change(number, privacy={"spent": {"epsilon": spent.epsilon}})
        assert told.faults(ledger=whole) == []
        assert told.faults(ledger=self.account(run, (1, 3))) == [("under-counted", "", 2)]

    def test_a_record_that_says_less_than_the_ledger(self, told):
        whole = self.account(told.records[0].run, (1, 2, 3))
        for number, spent in whole.curve():
            told.change(number, privacy={"spent": {"epsilon": spent.epsilon / (2 if number == 3 else 1)}})
        assert told.faults(ledger=whole) == [("under-counted", "", 3)]


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b'{"said":{}}\n', b'{"receipt":"00"}\n', b"\xff\n"])
def test_files_that_are_none(tmp_path, line):
    (tmp_path / "taken.jsonl").write_bytes(line)
    (tmp_path / "receipts.jsonl").write_bytes(line)
    with pytest.raises(BrokenChain):
        read_taken(tmp_path)
    with pytest.raises(BrokenChain):
        read_kept("c0", tmp_path)
