"""Abuse cases by number (docs/abuse-cases.md), each against a real federation behind signatures.

A test says what the attack would do without the wall, where that is not plain, and that the honest clients finish.
"""

import gzip
import json
import os
import pickle
import signal
import tracemalloc
from datetime import timedelta

import numpy as np
import pytest

from ringfort.core import Reply, Schema
from ringfort.core.errors import BadSignature, BrokenChain, OutputUnwritable, RingfortError
from ringfort.core.keys import Directory, SigningKey
from ringfort.engine import InProcess, SignedNode
from ringfort.identity import EquivocationProof, seal_update
from ringfort.identity.questions import read_question
from ringfort.rounds import Journal
from ringfort.testing import enrol

CANARY = b"do-not-echo-me"


def reframed(toy, frame, schema, dtype="F32", data=None):
    """An update frame of another schema than the federation's."""
    from ringfort.core.wire import Broadcast

    to = Broadcast.decode(frame, toy.MODEL.schema)
    text = schema.header[8:].rstrip().replace(b'"F32"', f'"{dtype}"'.encode())
    text += b" " * (-len(text) % 8)
    body = len(text).to_bytes(8, "little") + text + (bytes(4 * schema.d) if data is None else data)
    return toy.frame_of(body, client="c0", run=to.run, round=to.round, model=to.model)


def shapes(toy, **changes):
    return Schema.of({**dict(toy.MODEL.schema.tensors), **changes})


def first_of(toy):
    return next(iter(dict(toy.MODEL.schema.tensors)))


class TestUpdates:
    """What an enrolled client signs and sends. Its signature is good; the gate refuses the content."""

    def test_01_pickles_and_archives(self, town, toy, canary, tmp_path):
        bomb = pickle.dumps(canary(tmp_path / "executed")) + CANARY
        pickle.loads(pickle.dumps(canary(tmp_path / "works"))).close()  # noqa: S301 - undefended, the attack works
        assert (tmp_path / "works").exists()
        sent = iter([bomb, b"PK\x03\x04" + bomb, b"\x80\x05\x95" + bomb])
        town.turn("c0", lambda name, frame, honest: Reply(name, next(sent)))
        town.run()
        town.held("c0", "frame", "RF201")
        assert not (tmp_path / "executed").exists()
        assert CANARY not in town.written()

    def test_02_a_tensor_of_64_gb_that_is_not_there(self, town, toy):
        def huge(name, frame, honest):
            side = {first_of(toy): {"dtype": "F32", "shape": [2**34], "data_offsets": [0, 2**36]}}
            text = json.dumps(side).encode()
            body = len(text).to_bytes(8, "little") + text + CANARY
            return Reply(name, self._with_body(toy, frame, body))

        town.turn("c0", huge)
        tracemalloc.start()
        town.run()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
        town.held("c0", "keys", "RF201")
        assert CANARY not in town.written()

    @staticmethod
    def _with_body(toy, frame, body):
        from ringfort.core.wire import Broadcast

        to = Broadcast.decode(frame, toy.MODEL.schema)
        return toy.frame_of(body, client="c0", run=to.run, round=to.round, model=to.model)

    def test_03_a_body_over_the_limit_is_not_even_hashed(self, town, toy, monkeypatch):
        town.turn("c0", lambda name, frame, honest: Reply(name, CANARY * 2_000_000))
        hashed = []

        def said(client, stage, message):
            if not hashed:  # from here on it is the server that hashes
                plain = town.server._open

                def watched(*given):
                    import hashlib

                    import ringfort.core.envelope as envelope

                    real = hashlib.sha256
                    monkeypatch.setattr(
                        envelope.hashlib, "sha256", lambda data=b"": hashed.append(len(data)) or real(data)
                    )
                    try:
                        return plain(*given)
                    finally:
                        monkeypatch.setattr(envelope.hashlib, "sha256", real)

                monkeypatch.setattr(town.server, "_open", watched)
                hashed.append(0)
            return message

        town.post.said = said
        town.run()
        town.held("c0", "size", "RF201")
        assert 0 < max(hashed) < 100_000
        assert CANARY not in town.written()

    def test_04_a_compressed_bomb_is_bytes_like_any_others(self, town, toy):
        bomb = gzip.compress(bytes(3_000_000))
        assert len(bomb) < 4_000
        town.turn("c0", lambda name, frame, honest: Reply(name, bomb))
        tracemalloc.start()
        town.run()
        assert tracemalloc.get_traced_memory()[1] < 2_500_000
        tracemalloc.stop()
        town.held("c0", "frame", "RF201")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_06_one_coordinate_that_is_no_number(self, town, toy, value):
        def trick(name, frame, honest):
            values = np.zeros(toy.MODEL.schema.d, np.float32)
            values[3] = value
            return Reply(name, toy.answer(name, frame, values=values))

        town.turn("c0", trick)
        assert np.isfinite(town.run().params).all()
        town.held("c0", "not-finite", "RF201")

    def test_07_values_whose_norm_overflows(self, town, toy):
        town.turn("c0", toy.flood(3e38))
        assert np.isfinite(town.run().params).all()
        town.held("c0", "norm-cap", "RF205")

    @pytest.mark.parametrize("value", [1e-42, -0.0])
    def test_08_denormals_are_numbers_and_change_nothing(self, town, toy, value):
        town.turn("c0", toy.flood(value))
        last = town.run()
        assert np.isfinite(last.params).all()
        assert not last.record.refusals
        assert len(last.record.verdicts) == 5

    @pytest.mark.parametrize("kind", ["missing", "extra"])
    def test_09_another_set_of_tensors(self, town, toy, kind):
        given = dict(toy.MODEL.schema.tensors)
        given.pop(first_of(toy)) if kind == "missing" else given.update(evil=(1,))
        schema = Schema.of(given)
        town.turn("c0", lambda name, frame, honest: Reply(name, reframed(toy, frame, schema)))
        town.run()
        town.held("c0", "keys", "RF201")
        assert b"evil" not in town.written()

    def test_10_trailing_bytes_and_overlapping_offsets(self, town, toy):
        def trailing(name, frame, honest):
            return Reply(name, self._with_body(toy, frame, toy.MODEL.schema.encode(zeros(toy)) + CANARY))

        def overlapping(name, frame, honest):
            header = toy.MODEL.schema.header
            entries = json.loads(header[8:])
            for entry in entries.values():
                size = entry["data_offsets"][1] - entry["data_offsets"][0]
                entry["data_offsets"] = [0, size]
            text = json.dumps(entries, separators=(",", ":")).encode()
            text += b" " * (len(header) - 8 - len(text))
            body = len(text).to_bytes(8, "little") + text + bytes(4 * toy.MODEL.schema.d)
            return Reply(name, self._with_body(toy, frame, body))

        tricks = iter([(trailing, "size"), (overlapping, "layout"), (trailing, "size")])
        reasons = []

        def trick(*given):
            made, reason = next(tricks)
            reasons.append(reason)
            return made(*given)

        town.turn("c0", trick)
        town.run()
        assert [record.refusals[0].reason for record in town.records()] == reasons
        assert CANARY not in town.written()

    @pytest.mark.parametrize(("dtype", "size"), [("I32", 4), ("F64", 8), ("BOOL", 1), ("F8_E5M2", 1)])
    def test_11_another_type_of_number(self, town, toy, dtype, size):
        schema = toy.MODEL.schema
        made = lambda frame: reframed(toy, frame, schema, dtype, bytes(size * schema.d))  # noqa: E731
        town.turn("c0", lambda name, frame, honest: Reply(name, made(frame)))
        town.run()
        town.held("c0", "dtype", "RF201")

    @pytest.mark.parametrize("shape", [(1,), ()])
    def test_12_a_shape_that_would_broadcast(self, town, toy, shape):
        schema = shapes(toy, **{first_of(toy): shape})
        town.turn("c0", lambda name, frame, honest: Reply(name, reframed(toy, frame, schema)))
        town.run()
        town.held("c0", "shape", "RF201")

    @pytest.mark.parametrize(
        ("claim", "reason", "code"),
        [
            (0, "weight-cap", "RF205"),
            (-1, "weight-cap", "RF205"),
            (501, "quota", "RF205"),  # enrolled for 500; the gate would let 1,000 pass
            (10**18, "quota", "RF205"),
            ("10", "frame", "RF201"),
            (float("nan"), "frame", "RF201"),
        ],
    )
    def test_13_claims_of_examples(self, town, toy, claim, reason, code):
        town.turn("c0", lambda name, frame, honest: Reply(name, toy.answer(name, frame, num_examples=claim)))
        town.run()
        town.held("c0", reason, code)


def zeros(toy):
    return np.zeros(toy.MODEL.schema.d, np.float32)


class TestTwice:
    """Said twice, late, or for another place."""

    def test_14_the_same_answer_again_counts_once(self, town):
        town.post.said = lambda client, stage, message: (
            (heard.append(town.server.hear(client, message)) if client == "c0" else None) or message
        )
        heard = []
        town.run()
        assert all(len(record.verdicts) == 5 and not record.refusals for record in town.records())
        again = town.server.hear("c0", town.post.letters[-5][3])
        assert again.reason == "late"
        town.server.close()
        assert town.history().counted == 15

    def test_14_the_same_question_again_gets_the_same_answer_and_is_worked_on_once(self, town, toy):
        worked = []
        town.turn("c0", lambda name, frame, honest: worked.append(1) or Reply(name, honest()))
        town.run(rounds=1)
        client, stage, message, reply = town.post.letters[0]
        assert town.post.nodes[client].handle(stage, message) == reply
        assert len(worked) == 1

    def test_15_two_different_answers_are_a_proof_and_the_first_stays(self, town, toy):
        def said(client, stage, message):
            if client == "c0" and stage == "train":
                place = town.server._asked["c0"]
                second = seal_update(town.people.key("c0"), "c0", place, CANARY)
                first.append(town.server.hear("c0", message))
                proof.append(town.server.hear("c0", second))
            return message

        first, proof = [], []
        town.post.said = said
        town.run()
        assert {r.reason for r in proof} == {"equivocation"}
        assert all(len(record.verdicts) == 5 for record in town.records())
        lines = (town.folder / "run" / "equivocations.jsonl").read_bytes().splitlines()
        assert len(lines) == 3
        shown = EquivocationProof.decode(bytes.fromhex(json.loads(lines[0])["proof"]))
        shown.verify(Directory({"c0": town.people.key("c0").public}))
        assert shown.culprit == "c0"
        assert CANARY not in town.written()

    def test_16_last_rounds_answer(self, town):
        kept = {}

        def said(client, stage, message):
            if client == "c0" and stage == "train":
                return kept.setdefault("old", message)
            return message

        town.post.said = said
        town.run()
        refused = [[r.reason for r in record.refusals] for record in town.records()]
        assert refused == [[], ["wrong-round"], ["wrong-round"]]
        assert all(len(record.verdicts) == 4 for record in town.records()[1:])

    def test_17_an_answer_to_another_run(self, found):
        town, other = found("town"), found("other")
        other.run(rounds=3)
        replayed = iter([letter[3] for letter in other.post.letters if letter[0] == "c0"])
        town.post.said = lambda client, stage, message: next(replayed) if client == "c0" else message
        town.run()
        town.post.said = lambda client, stage, message: message
        town.held("c0", "wrong-run", "RF203")

    def test_17_an_answer_within_another_federation(self, town, tmp_path, toy):
        """The same names, run, round, model and even the same key: the federation is signed as well."""
        other = enrol(tmp_path / "elsewhere", toy.names(1), town.now)

        def said(client, stage, message):
            if client != "c0" or stage != "train":
                return message
            from dataclasses import replace

            place = replace(town.server._asked["c0"], authority=other.authority)
            return seal_update(town.people.key("c0"), "c0", place, message[-1000:])

        town.post.said = said
        town.run()
        town.held("c0", "wrong-context", "RF203")

    def test_18_late_is_counted_apart_from_forged(self, town):
        town.post.said = lambda client, stage, message: None if client == "c0" else message
        town.run(rounds=2)
        late = [letter for letter in town.post.letters if letter[0] == "c0"]
        assert town.server.hear("c0", late[-1][3]).reason == "late"
        assert town.server.hear("c0", late[0][3]).reason == "wrong-round"
        assert dict(town.server.refused) == {"late": 1, "wrong-round": 1}
        assert all(record.absent == ("c0",) for record in town.records())

    def test_19_an_update_from_another_model(self, town, toy):
        trick = lambda name, frame, honest: Reply(name, toy.answer(name, frame, model="00" * 32))  # noqa: E731
        town.turn("c0", trick)
        town.run()
        town.held("c0", "wrong-model", "RF204")


class TestWho:
    """Who may speak."""

    def test_20_in_somebody_elses_name(self, town):
        """c1 signs for c0, and the transport believes that it is c0."""

        def said(client, stage, message):
            if client != "c0" or stage != "train":
                return message
            return seal_update(town.people.key("c1"), "c0", town.server._asked["c0"], CANARY)

        town.post.said = said
        town.run()
        town.held("c0", "signature", "RF203")
        assert CANARY not in town.written()

    def test_20_an_enrolled_client_speaks_for_another_inside_its_frame(self, town, toy):
        town.turn("c0", lambda name, frame, honest: Reply(name, toy.answer("c1", frame)))
        town.run()
        town.held("c0", "wrong-client", "RF202")

    def test_20_forgeries_in_others_names_do_not_disarm_the_rule(self, town):
        """Three honest names forged on the wire: with f = 1 of five the rule must refuse, not run with f = 0."""
        from ringfort.aggregate import TrimmedMean
        from ringfort.core.errors import ToleranceExceeded

        town.post.said = lambda client, stage, message: b"junk" if client in ("c0", "c1", "c2") else message
        with pytest.raises(ToleranceExceeded):
            town.run(rule=TrimmedMean(f=1))

    def test_21_revoked_between_question_and_answer(self, town):
        def said(client, stage, message):
            if client == "c0":
                with town.people.writer() as registry:
                    registry.revoke("c0", "stolen laptop", town.now)
            return message

        town.post.said = said
        town.run()
        records = town.records()
        assert [r.reason for r in records[0].refusals] == ["revoked"]
        assert [record.cohort for record in records[1:]] == [town.names[1:]] * 2  # from then on it is not even asked

    def test_21_revoked_between_the_draw_and_the_question(self, town):
        with Journal(town.folder / "run") as journal:
            federation = town.toy.federation(exchange=town.server, journal=journal, rounds=1)
            state = federation.begin()
            plan = federation._plan(state)
            with town.people.writer() as registry:
                registry.revoke("c0", "left", town.now)
            from ringfort.core.wire import Broadcast

            frame = Broadcast.encode(plan.run, 1, federation.model.schema.encode(state.params))
            got = town.server.exchange("train", dict.fromkeys(plan.cohort, frame), None)
        assert got["c0"].reason == "revoked"
        assert "c0" not in {letter[0] for letter in town.post.letters}  # its model stays here
        assert sum(isinstance(outcome, Reply) for outcome in got.values()) == 4

    def test_21_expired_between_question_and_answer(self, town):
        """Four renew in time; the fifth does not."""
        town.now += timedelta(hours=17)
        with town.people.writer() as registry:
            for name in (town.people.server, *town.names[1:]):
                home = town.people.home(name)
                home.accept(registry.admit(home.follow(new_keys=False).encode(), town.now), town.now)
        town.restart_server()

        def said(client, stage, message):
            town.now += timedelta(hours=2)
            return message

        town.post.said = said
        town.run(rounds=1)
        record = town.records()[0]
        assert [(r.client, r.reason) for r in record.refusals] == [("c0", "expired")]
        assert len(record.verdicts) == 4

    def test_22_a_thousand_uninvited_clients(self, town):
        strangers = {f"sybil-{i}": None for i in range(1000)}
        town.post.nodes = {**strangers, **town.post.nodes}
        town.run()
        assert all(record.cohort == town.names for record in town.records())

    def test_23_one_key_in_two_places(self, town):
        """A thief runs c0's stolen folder beside c0: both answer one question."""
        import shutil

        shutil.copytree(town.folder / "kept" / "c0", town.folder / "kept" / "thief")
        most, folder = 20_000, town.folder / "kept" / "thief"
        thief = town.people.side("c0", clock=town.clock, most=most, folder=folder)
        flood = town.toy.flood(1.0)

        class Thief:
            client = "c0"

            def handle(self, stage, frame):
                return flood("c0", frame, None).body

        node = SignedNode(Thief(), thief)

        def asked(client, stage, message):
            if client == "c0" and stage == "train":
                stolen.append(node.handle(stage, message))
            return message

        def said(client, stage, message):
            if client == "c0" and stage == "train":
                town.server.hear("c0", message)
                heard.append(town.server.hear("c0", stolen[-1]).reason)
            return message

        stolen, heard = [], []
        town.post.asked, town.post.said = asked, said
        town.run()
        assert heard == ["equivocation"] * 3
        assert town.server.refused["equivocation"] == 3

    @pytest.mark.parametrize("magic", [b"RFS0", b"RFS2", b"RFW1", b"\0\0\0\0"])
    def test_24_another_version_is_never_answered(self, town, magic):
        errors = []
        town.post.asked = lambda client, stage, message: magic + message[4:] if client == "c0" else message
        town.run()
        for record in town.records():
            errors += [failure.error for failure in record.failures if failure.client == "c0"]
            assert len(record.verdicts) == 4
        assert len(errors) == 3
        assert all("RF201" in error for error in errors)

    def test_24_a_plain_broadcast_is_never_answered(self, town):
        """The fall-back that a man in the middle would like: the same payload without the signature."""

        def strip(client, stage, message):
            heard = read_question(message, stage, max_body_bytes=20_000)
            return bytes(heard.envelope[-3000:]) if client == "c0" else message

        town.post.asked = strip
        town.run()
        assert all(record.failures[0].client == "c0" for record in town.records())
        assert all(len(record.verdicts) == 4 for record in town.records())

    def test_25_nothing_of_a_request_can_be_changed_on_the_way(self, town):
        town.run(rounds=1)
        town.restart_client("c0")
        message = town.server._requests("train", {"c0": town_broadcast(town)})["c0"]
        node = town.post.nodes["c0"]
        for place in range(0, len(message), max(1, len(message) // 300)):
            altered = bytearray(message)
            altered[place] ^= 1
            with pytest.raises(RingfortError):
                node.handle("train", bytes(altered))
        with pytest.raises(BadSignature):
            node.handle("masked/shares", message)  # another stage than it was signed for
        with pytest.raises(BadSignature):
            town.post.nodes["c1"].handle("train", message)  # for somebody else
        assert node.handle("train", message)  # untouched it is answered: nothing above used it up


def town_broadcast(town):
    from ringfort.core.wire import Broadcast

    head = town.records()[-1]
    with Journal(town.folder / "run") as journal:
        return Broadcast.encode(head.run, head.round + 1, journal.model(head.next_model))


class TestOldQuestions:
    """What the network keeps and sends again to a client."""

    def test_an_old_question_is_not_answered_after_a_restart(self, town):
        town.run(rounds=2)
        old = next(letter for letter in town.post.letters if letter[0] == "c0")
        last = [letter for letter in town.post.letters if letter[0] == "c0"][-1]
        town.restart_client("c0")
        for letter, reason in ((old, "stale"), (last, "answered")):
            with pytest.raises(RingfortError) as error:
                town.post.nodes["c0"].handle("train", letter[2])
            assert error.value.reason == reason

    def test_a_run_never_goes_back_a_round(self, town):
        town.run(rounds=2)
        head = town.records()[0]
        from ringfort.core.wire import Broadcast

        frame = Broadcast.encode(head.run, 1, town.toy.MODEL.schema.encode(zeros(town.toy)))
        got = town.server.exchange("train", dict.fromkeys(town.names, frame), None)
        assert all("RF204" in failure.error for failure in got.values())

    def test_a_server_that_asks_two_things_under_one_number(self, town):
        town.run(rounds=1)
        town.server._log._number -= 1
        clock, town.now = town.now, town.now - timedelta(days=1)
        frame = town_broadcast(town)
        town.server.exchange("train", {"c0": frame}, None)
        town.now = clock
        number = town.server._number
        town.server._log._number = number - 1
        town.now -= timedelta(days=1)
        town.server._at = None
        other = town_broadcast(town)[:-1] + b"\x01"
        got = town.server.exchange("train", {"c0": other}, None)
        assert "second, different request" in got["c0"].error

    def test_another_servers_question(self, town, tmp_path):
        """An enrolled helper, and a whole other federation: neither is the pinned server."""
        other = enrol(tmp_path / "elsewhere", town.names, town.now)
        from ringfort.engine import SignedExchange

        me = other.identity("coordinator")
        hostile = SignedExchange(town.post, lambda: me, other.view(), clock=town.clock, max_reply_bytes=20_000)
        with Journal(town.folder / "run") as journal:
            federation = town.toy.federation(exchange=hostile, rounds=1, journal=journal)
            with pytest.raises(RingfortError):
                federation.run()
        helper = town.people.identity("c1")  # a client's key under the server's name
        forged = SignedExchange(town.post, lambda: helper, town.people.view(), clock=town.clock, max_reply_bytes=20_000)
        got = forged.exchange("train", {"c0": broadcast_of(town)}, None)
        assert "RF202" in got["c0"].error


def broadcast_of(town):
    from ringfort.core.wire import Broadcast

    return Broadcast.encode("run-x", 1, town.toy.MODEL.schema.encode(zeros(town.toy)))


class TestTrouble:
    """Crashes, full disks and clocks, with the history checked afterwards."""

    POINTS = ("after receive", "before the receipts", "mid-aggregate", "mid-save", "after save")

    @pytest.mark.parametrize("point", POINTS)
    def test_31_the_server_is_killed(self, town, point):
        pid = os.fork()
        if pid == 0:
            self._die_at(town, point)
            try:
                town.run(rounds=3)
            finally:
                os._exit(70)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        for name in town.names:
            town.restart_client(name)
        town.restart_server()
        town.run(rounds=3)
        town.server.close()
        history = town.history()
        assert history.faults == ()
        assert history.counted == 15
        assert [record.round for record in town.records()] == [1, 2, 3]

    @staticmethod
    def _die_at(town, point):
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        def in_round_2(call, before=True):
            done = []

            def wrapped(*given):
                done.append(1)
                if len(done) == 2 and before:
                    die()
                made = call(*given)
                if len(done) == 2:
                    die()
                return made

            return wrapped

        if point == "after receive":
            town.post.exchange = in_round_2(town.post.exchange, before=False)
        elif point == "before the receipts":
            town.server._log.flush = in_round_2(town.server._log.flush, before=False)
        elif point == "mid-aggregate":
            import ringfort.rounds.federation as federation

            federation.fuse = in_round_2(federation.fuse)
        else:
            plain, done = Journal.commit, []

            def commit(self, record, *rest):
                if record.round == 2 and point == "mid-save":
                    done.append(1)
                    self._file.write(record.line()[:40])
                    die()
                plain(self, record, *rest)
                if record.round == 2:
                    die()

            Journal.commit = commit

    def test_32_a_client_dies_while_it_sends(self, town):
        town.post.said = lambda client, stage, message: None if client == "c0" else message
        town.run()
        assert all(record.absent == ("c0",) and len(record.verdicts) == 4 for record in town.records())

    def test_32_half_a_message_is_refused(self, town):
        town.post.said = lambda client, stage, message: message[: len(message) // 2] if client == "c0" else message
        town.run()
        assert all(r.reason == "wrong-body" for record in town.records() for r in record.refusals)
        assert all(len(record.verdicts) == 4 for record in town.records())

    def test_33_what_cannot_be_written_down_is_not_receipted_nor_counted(self, town, monkeypatch):
        import ringfort.core.lines as lines

        plain = os.fsync

        def no_room(handle):
            if os.readlink(f"/proc/self/fd/{handle}").endswith("taken.jsonl"):
                raise OSError(28, "No space left on device")
            plain(handle)

        town.run(rounds=1)
        with monkeypatch.context() as full:
            full.setattr(lines.os, "fsync", no_room)
            with pytest.raises(OutputUnwritable):
                town.run(rounds=2)
        assert len(town.records()) == 1
        town.run(rounds=2)
        town.server.close()
        assert town.history().faults == ()
        assert len(town.records()) == 2

    def test_34_a_damaged_memory_of_requests_is_not_guessed(self, town):
        from ringfort.core.errors import BadCheckpoint

        town.run(rounds=1)
        path = town.folder / "kept" / "c0" / "heard.json"
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(BadCheckpoint):
            town.restart_client("c0")

    def test_35_clocks_that_jump(self, town):
        jumps = iter([timedelta(hours=-26), timedelta(hours=26), timedelta(seconds=-1)])
        for state in town.states(rounds=4):
            if state.round < 3:
                town.now += next(jumps)
                town.now = max(town.now, town.now.replace(year=2025, month=12))
        assert all(len(record.verdicts) == 5 for record in town.records())
        town.restart_server()
        town.now -= timedelta(hours=20)  # set back over a restart as well
        town.run(rounds=5)
        assert len(town.records()[-1].verdicts) == 5

    def test_35_a_clock_that_jumps_ahead_ends_every_enrolment(self, town):
        town.run(rounds=1)
        town.now += timedelta(days=2)
        assert town.server.members() == ()
        town.now -= timedelta(days=2)
        assert town.server.members() == ()  # and setting it back brings nobody back

    def test_36_names_that_are_paths(self, town, toy):
        names = iter(["../../etc/passwd", "a\0b", "x" * 3000])
        town.turn("c0", lambda name, frame, honest: Reply(name, toy.answer(next(names), frame)))
        town.run()
        town.held("c0", "wrong-client", "RF202")
        assert b"passwd" not in town.written()

    def test_40_a_registry_that_was_edited_stops_everything(self, town):
        town.run(rounds=1)
        path = town.people.registry
        path.write_bytes(path.read_bytes().replace(b'"max_examples":500', b'"max_examples":900'))
        town.restart_server()
        with pytest.raises(BrokenChain):
            town.run(rounds=2)


def test_the_federation_is_the_same_with_and_without_signatures(town, toy):
    plain = toy.federation(rounds=3, exchange=InProcess(toy.local_clients(5))).run()
    assert np.array_equal(plain.params, town.run(rounds=3).params)


def test_no_key_no_answer(town):
    """The undefended twin of case 20: without the signed layer a forged update in c0's name is counted."""
    toy = town.toy
    street = toy.Street(toy.local_clients(5), {"c0": toy.flood(0.5)})
    record = toy.federation(rounds=1, exchange=street).run().record
    assert "c0" in {v.client for v in record.verdicts}
    forged = SigningKey(bytes(32))
    town.post.said = lambda client, stage, message: (
        seal_update(forged, "c0", town.server._asked["c0"], toy.flood(0.5)("c0", broadcast_of(town), None).body)
        if client == "c0" and stage == "train"
        else message
    )
    town.run()
    town.held("c0", "signature", "RF203")
