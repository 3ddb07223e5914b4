"""kill -9 and a full disk at every named place: the run goes on from its last round, to the same bits."""

import os
import signal
from datetime import UTC, datetime

import pytest

from ringfort.aggregate import Mean, Momentum, chain
from ringfort.core.errors import InvalidValue, NothingAdmitted, OutputUnwritable, UnknownName
from ringfort.core.failpoints import POINTS, arm, failpoint
from ringfort.core.keys import SigningKey
from ringfort.identity.chain import ChainWriter
from ringfort.privacy import Budget, CentralNoise, Everyone, FixedClip, Ledger, Neighbouring, Unit
from ringfort.rounds import Journal, read_records
from ringfort.rounds.checkpoint import Signing
from ringfort.rounds.log import verify
from ringfort.rounds.places import ToFile
from ringfort.rounds.private import TARIFF, PrivateRelease

ROUNDS = 5
KEY = SigningKey(bytes(range(32)))
IN_TURN = ("decisions", "taken", "equivocations", "receipts", "engine")
"""Files that nobody holds: tests/unit/core/test_lines.py."""
PLAIN = [
    name
    for name in POINTS
    if name.partition(".")[0] not in IN_TURN and not name.startswith(("registry.", "ledger.", "round.charged"))
]
PAID = [name for name in POINTS if name.startswith(("ledger.", "round.charged"))]


def in_a_child(work):
    """Fork, and run work(acknowledge) there. Returns the status and what was acknowledged."""
    read, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(read)
            work(lambda state: os.write(write_end, f"{state.round} {state.record.digest}\n".encode()))
        except BaseException:
            os._exit(70)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read, "rb") as pipe:
        said = [tuple(line.split()) for line in pipe.read().decode().splitlines()]
    return os.waitpid(pid, 0)[1], said


def stumbling(toy):
    """A federation whose defence remembers, and whose third round fails twice before it succeeds."""
    tried = []

    def trick(name, frame, honest):
        number = _round(frame)
        if name == "c0" and number == 3:
            tried.append(number)
        return None if number == 3 and len(tried) < 3 else toy.Reply(name, honest())

    rule = chain(Momentum(beta=0.5), Mean())
    return toy.federation(rule=rule, rounds=ROUNDS, tricks={f"c{i}": trick for i in range(5)})


def _round(frame):
    from ringfort.core.wire import open_frame

    return open_frame(frame, "broadcast", max_body_bytes=1 << 20)[0].round


def train(toy, folder, acknowledge=lambda state: None):
    from dataclasses import replace

    federation = stumbling(toy)
    for _ in range(3):
        with Journal(folder / "run", Signing(KEY, (ToFile(folder / "outside.jsonl"),))) as journal:
            try:
                for state in replace(federation, journal=journal).states():
                    acknowledge(state)
                return state
            except NothingAdmitted:
                continue
    raise AssertionError("the third round failed more often than it should")


@pytest.fixture(scope="module")
def undisturbed():
    return {}


def whole(toy, undisturbed):
    if not undisturbed:
        undisturbed["state"] = toy.federation(rule=chain(Momentum(beta=0.5), Mean()), rounds=ROUNDS).run()
    return undisturbed["state"]


def in_order(toy, folder, acknowledged, undisturbed):
    if (folder / "run" / "rounds.jsonl").exists():
        on_disk = [(str(r.round), r.digest) for r in read_records(folder / "run")[0]]
        acknowledged = list(dict.fromkeys(acknowledged))  # a resumed run begins with its last round
        assert on_disk[: len(acknowledged)] == acknowledged, "an acknowledged round was lost or changed"
    last, expected = train(toy, folder), whole(toy, undisturbed)
    assert last.params.tobytes() == expected.params.tobytes()
    assert last.history == expected.history
    assert {name: a.tobytes() for name, a in last.memory.items()} == {
        name: a.tobytes() for name, a in expected.memory.items()
    }
    found = verify(folder / "run", folder / "outside.jsonl", KEY.public)
    assert found.anchored == found.records == ROUNDS + 1
    assert found.attempts >= 2
    assert len(list((folder / "run" / "models").iterdir())) == 6


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", PLAIN)
def test_a_kill_at_any_place_loses_nothing_that_was_acknowledged(toy, tmp_path, undisturbed, name, count):
    def work(acknowledge):
        arm(f"{name}@{count}")
        train(toy, tmp_path, acknowledge)

    status, said = in_a_child(work)
    assert os.WIFSIGNALED(status), f"{name} was not reached {count} times"
    assert os.WTERMSIG(status) == signal.SIGKILL
    in_order(toy, tmp_path, said, undisturbed)


@pytest.mark.parametrize(
    "name", [name for name in PLAIN if name.rpartition(".")[2] in ("half", "written", "synced", "renamed")]
)
def test_a_full_disk_at_any_write_ends_the_run_and_costs_no_round(toy, tmp_path, undisturbed, name):
    """As if it were full for one moment in the fourth commit; the same process then goes on."""

    def work(acknowledge):
        arm(f"{name}@2=enospc")
        try:
            train(toy, tmp_path, acknowledge)
        except OutputUnwritable as error:
            os._exit(11 if "No space left" in error.message else 12)

    status, said = in_a_child(work)
    # A failed round that cannot be recorded is still a failed round, and the loop above tries again.
    assert os.waitstatus_to_exitcode(status) in ((0, 11) if name.startswith("attempts") else (11,))
    if name.startswith("attempts") and os.waitstatus_to_exitcode(status) == 0:
        assert verify(tmp_path / "run", tmp_path / "outside.jsonl", KEY.public).anchored == ROUNDS + 1
        return
    in_order(toy, tmp_path, said, undisturbed)


BUDGET = Budget(1e6, 1e-5, Neighbouring.ADD_OR_REMOVE, Unit.CLIENT)


def private(toy, folder, journal):
    mechanism = CentralNoise(FixedClip(1.0), 5.0, Everyone(5), BUDGET.neighbouring)
    ledger = Ledger(folder / "run" / "privacy.jsonl", "toy", BUDGET, {TARIFF: mechanism.event})
    return toy.federation(rule=Mean(), rounds=3, journal=journal, release=PrivateRelease(mechanism, ledger))


@pytest.mark.parametrize("name", PAID)
def test_a_kill_around_a_charge_never_leaves_a_round_unpaid(toy, tmp_path, name):
    def work(acknowledge):
        with Journal(tmp_path / "run") as journal:
            arm(f"{name}@2")
            for state in private(toy, tmp_path, journal).states():
                acknowledge(state)

    status, said = in_a_child(work)
    assert os.WIFSIGNALED(status), f"{name} was not reached"
    with Journal(tmp_path / "run") as journal:
        federation = private(toy, tmp_path, journal)
        charged = federation.release.ledger.account.counts()[TARIFF]
        assert charged >= len(journal.records) - 1 >= len(said) - 1
        last = federation.run()
        assert last.round == 3
        federation.release.ledger.close()
    assert verify(tmp_path / "run").charges >= 3


@pytest.mark.parametrize("name", [name for name in POINTS if name.startswith("registry.")])
def test_a_kill_in_the_registry_keeps_every_line_that_returned(tmp_path, name):
    def work(acknowledge):
        writer = ChainWriter(tmp_path / "registry.jsonl", KEY)
        arm(f"{name}@2")
        for i in range(3):
            writer.append(datetime(2026, 1, 1, tzinfo=UTC), "note", {"i": i})

    status, _ = in_a_child(work)
    assert os.WIFSIGNALED(status)
    writer = ChainWriter(tmp_path / "registry.jsonl", KEY)
    assert [line.body["i"] for line in writer.lines] in ([0], [0, 1])
    writer.append(datetime(2026, 1, 1, tzinfo=UTC), "note", {"i": 9})
    writer.close()


def test_every_place_is_in_one_of_these_tests():
    elsewhere = {name for name in POINTS if name.partition(".")[0] in ("registry", *IN_TURN)}
    assert set(PLAIN) | set(PAID) | elsewhere == set(POINTS)


@pytest.mark.parametrize("text", ["rounds.writen", "rounds.written@0", "rounds.written@x", "file.synced=explode"])
def test_a_misspelt_failpoint_is_an_error_and_not_a_test_of_nothing(text):
    with pytest.raises((UnknownName, InvalidValue)):
        arm(text)
    failpoint("rounds.written")


def test_no_disk_is_full_where_nothing_is_written():
    with pytest.raises(InvalidValue, match="nothing is written"):
        arm("commit.begin=enospc")
