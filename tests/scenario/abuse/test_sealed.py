"""The same layer around a seal: its stages pass only between parties that are enrolled at that moment."""

import pytest

from ringfort.aggregate import Mean
from ringfort.audit.history import Keys, check_history, read_kept, read_taken
from ringfort.core.errors import ProtocolAbort
from ringfort.core.seal import COORDINATOR
from ringfort.engine import InProcess, SealedExchange
from ringfort.engine.signed import People
from ringfort.rounds import Journal
from ringfort.rounds.sealing import ServerSide
from ringfort.secagg.masked import Masked

SEAL = Masked(clip=20.0, bits=12, corrupt_fraction=0.0, dropout_fraction=0.3, min_cohort=3)


class Sealed:
    def __init__(self, toy, town):
        self.toy, self.town = toy, town
        homes, kept = town.people.folder / "homes", town.folder / "run"
        self.people = People(town.people.registry, homes, COORDINATOR, kept, town.clock)
        schema = toy.MODEL.schema
        self.inner = SealedExchange(
            InProcess(toy.local_clients(5)), SEAL, schema, Mean(), self.people.keys((*town.names, COORDINATOR))
        )
        self.exchange = self.people.exchange(self.inner, schema, sealed=True)

    def run(self, rounds=2):
        side = ServerSide(SEAL, self.inner.server)
        with Journal(self.people.kept) as journal:
            made = self.toy.federation(exchange=self.exchange, seal=side, rounds=rounds, journal=journal)
            made.run()
            self.exchange.close()
            return journal.records[1:]

    def at(self, stage, then):
        """Do something when the clients' answers to a stage are on their way."""
        plain = self.inner.exchange

        def exchange(name, payloads, deadline_s):
            replies = plain(name, payloads, deadline_s)
            if name == stage:
                then()
            return replies

        self.inner.exchange = exchange

    def history(self):
        people = self.town.people
        keys = Keys.of(people.view().state(self.town.now), people.authority, people.server)
        kept = [read_kept(name, self.people.kept / "clients" / name) for name in self.town.names]
        return check_history(self.people.kept, read_taken(self.people.kept), kept, keys)

    def revoke(self, name):
        with self.town.people.writer() as registry:
            registry.revoke(name, "stolen", self.town.now)


@pytest.fixture
def sealed(toy, town):
    return Sealed(toy, town)


def test_a_sealed_federation_behind_signatures(sealed):
    records = sealed.run()
    assert all(len(record.verdicts) == 5 and not record.refusals for record in records)
    assert sealed.history().faults == ()
    assert sealed.history().counted == 10


@pytest.mark.parametrize("stage", ["train", "masked/shares"])
def test_21_revoked_in_the_middle_of_a_seal_is_a_dropout(sealed, stage):
    sealed.at(stage, lambda: sealed.revoke("c0"))
    records = sealed.run()
    assert [(r.client, r.reason) for r in records[0].refusals] == [("c0", "revoked")]
    assert [v.client for v in records[0].verdicts] == ["c1", "c2", "c3", "c4"]
    assert "c0" not in records[1].cohort
    assert sealed.history().faults == ()


def test_28_revoking_too_many_aborts_and_reveals_nothing(sealed):
    sealed.at("masked/shares", lambda: [sealed.revoke(name) for name in ("c0", "c1", "c2")])
    with pytest.raises(ProtocolAbort):
        sealed.run(rounds=1)
    with Journal(sealed.people.kept) as journal:
        assert len(journal.records) == 1


def test_the_seals_own_messages_are_not_signed_twice(sealed):
    sent = {}
    plain = sealed.inner.exchange

    def exchange(name, payloads, deadline_s):
        replies = plain(name, payloads, deadline_s)
        sent[name] = next(iter(payloads.values()))[:4]
        return replies

    sealed.inner.exchange = exchange
    sealed.run(rounds=1)
    assert set(sent) == {"train", "masked/shares", "masked/masked", "masked/consistency", "masked/unmask"}
    assert sent["train"] == b"RFW1"  # the frame, out of its signed request
    assert {magic for name, magic in sent.items() if name != "train"} == {b"RFE1"}  # the seal's own envelope
