"""The ledger never counts too little: whatever is cut, killed, edited or run twice."""

import json
import os
import signal
from pathlib import Path

import pytest

from ringfort.core.errors import (
    BrokenChain,
    BudgetExceeded,
    Incompatible,
    InvalidValue,
    OutputUnwritable,
    UnknownName,
)
from ringfort.core.values import client_id
from ringfort.privacy import (
    Budget,
    CentralNoise,
    Everyone,
    FixedClip,
    FixedCohort,
    Gaussian,
    Ledger,
    Neighbouring,
    Poisson,
    SkellamSum,
    Unit,
    read_account,
    spend,
)

EVENT = Gaussian(4.0, Everyone(10), 0.0)
BUDGET = Budget(2.35, 1e-5, Neighbouring.ZERO_OUT, Unit.CLIENT)  # pays for five of EVENT
TARIFF = {"update": EVENT}
ANNA, BERT = client_id("anna"), client_id("bert")
ONE = {"update": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def opened(path, budget=BUDGET, tariff=TARIFF, run="run"):
    return Ledger(path, run, budget, tariff)


def total(path):
    return read_account(path).counts()["update"]


def test_charges_add_up_and_continue_after_a_restart(path):
    with opened(path) as ledger:
        ledger.charge(1, ONE, None)
        ledger.charge(2, ONE, None)
        head = ledger.account.head
    with opened(path) as ledger:
        assert ledger.account.head == head
        ledger.charge(3, ONE, None)
        assert ledger.account.counts() == {"update": 3}
        curve = ledger.account.curve()
        assert [round for round, _ in curve] == [1, 2, 3]
        assert curve[-1][1] == ledger.account.worst()
        assert read_account(path) == ledger.account


def test_it_stops_at_the_budget_with_nothing_written(path):
    with opened(path) as ledger:
        for round in range(5):
            ledger.charge(round, ONE, None)
        before = path.read_bytes()
        with pytest.raises(BudgetExceeded, match=r"^RF401|budget is 2.35") as error:
            ledger.charge(5, ONE, None)
        assert error.value.code == "RF401"
        assert path.read_bytes() == before
        assert ledger.account.worst().epsilon <= 2.35
    with opened(path) as ledger, pytest.raises(BudgetExceeded):
        ledger.charge(5, ONE, None)


def test_clients_are_counted_one_by_one(path):
    with opened(path) as ledger:
        for round in range(5):
            ledger.charge(round, ONE, [ANNA])
        ledger.charge(5, ONE, [BERT])
        with pytest.raises(BudgetExceeded):
            ledger.charge(6, ONE, [ANNA, BERT])
        with pytest.raises(BudgetExceeded):
            ledger.charge(6, ONE, None)  # anna is part of everybody
        ledger.charge(6, ONE, [BERT])
        account = ledger.account
    assert account.counts(ANNA) == {"update": 5}
    assert account.counts(BERT) == {"update": 2}
    assert account.counts() == {}
    assert account.spent(BERT).epsilon < account.spent(ANNA).epsilon == account.worst().epsilon
    assert account.clients() == (ANNA, BERT)


def test_a_charge_to_everybody_counts_for_each(path):
    with opened(path) as ledger:
        ledger.charge(1, ONE, [ANNA])
        ledger.charge(2, ONE, None)
        assert ledger.account.counts(ANNA) == {"update": 2}
        assert ledger.account.counts(BERT) == {"update": 1}


def test_a_receipt_pays_once_and_for_one_thing(path):
    with opened(path) as ledger:
        receipt = ledger.charge(1, ONE, None)
        with pytest.raises(BudgetExceeded, match="another release"):
            receipt.redeem(Gaussian(3.9, Everyone(10), 0.0))
        with pytest.raises(BudgetExceeded, match="another release"):
            receipt.redeem(EVENT, 2)
        assert receipt.redeem(EVENT) == ledger.account.head
        with pytest.raises(BudgetExceeded, match="each one"):
            receipt.redeem(EVENT)


def test_nothing_is_released_where_nothing_can_be_charged(path):
    mechanism = CentralNoise(FixedClip(1.0), 0.5, Everyone(10), Neighbouring.ADD_OR_REMOVE)
    budget = Budget(0.1, 1e-5, Neighbouring.ADD_OR_REMOVE, Unit.CLIENT)
    with opened(path, budget, {"update": mechanism.event}) as ledger, pytest.raises(BudgetExceeded):
        mechanism.release(None, 10, ledger.charge(1, ONE, None))
    assert read_account(path).entries == ()


@pytest.mark.parametrize(
    ("round", "counts", "clients", "error"),
    [
        (-1, ONE, None, InvalidValue),
        (1.0, ONE, None, InvalidValue),
        (1, {}, None, InvalidValue),
        (1, {"update": 0}, None, InvalidValue),
        (1, {"update": True}, None, InvalidValue),
        (1, {"updates": 1}, None, UnknownName),
        (1, ONE, [], InvalidValue),
    ],
)
def test_charges_that_make_no_sense(path, round, counts, clients, error):
    with opened(path) as ledger:
        with pytest.raises(error):
            ledger.charge(round, counts, clients)
        assert ledger.account.entries == ()


def test_a_second_writer_is_refused(path):
    with opened(path):
        with pytest.raises(OutputUnwritable, match="another process"):
            opened(path)
        assert read_account(path).entries == ()  # reading is allowed
    opened(path).close()


@pytest.mark.parametrize(
    "other",
    [
        {"run": "other"},
        {"budget": Budget(30.0, 1e-5, Neighbouring.ZERO_OUT, Unit.CLIENT)},
        {"budget": Budget(2.35, 1e-5, Neighbouring.ZERO_OUT, Unit.EXAMPLE)},
        {"tariff": {"update": Gaussian(40.0, Everyone(10), 0.0)}},
        {"tariff": {"update": EVENT, "more": EVENT}},
    ],
)
def test_a_ledger_is_not_continued_on_other_terms(path, other):
    opened(path).close()
    before = path.read_bytes()
    with pytest.raises(InvalidValue, match="another run, budget or tariff"):
        opened(path, **other)
    assert path.read_bytes() == before


@pytest.mark.parametrize("event", [Gaussian(1.0, FixedCohort(2, 10), 0.0)])
def test_a_tariff_that_cannot_be_counted_is_refused_at_the_start(path, event):
    with pytest.raises(Incompatible):
        opened(path, tariff={"update": event})
    assert not path.exists()
    with pytest.raises(InvalidValue):
        opened(path, tariff={})


def test_every_kind_of_event_survives_the_file(path):
    tariff = {"a": EVENT, "b": SkellamSum(1e6, 2e4, 1e2, 1e-20), "c": Gaussian(1.5, Poisson(0.25, 40), 1e-9)}
    with Ledger(path, "run", Budget(50.0, 1e-5, Neighbouring.ZERO_OUT, Unit.CLIENT), tariff, at_once=2) as ledger:
        ledger.charge(1, {"b": 2}, None)
    assert read_account(path).tariff == tariff


def test_a_cut_line_counts_as_the_most_that_one_charge_may_hold(path):
    """A round of DP-SGD is charged as many steps at once; one step for a cut line would be too little."""
    budget = Budget(50.0, 1e-5, Neighbouring.ADD_OR_REMOVE, Unit.EXAMPLE)
    tariff = {"step": Gaussian(2.0, Poisson(0.1, 100), 0.0)}
    with Ledger(path, "run", budget, tariff, at_once=20) as ledger:
        ledger.charge(1, {"step": 20}, None)
        with pytest.raises(InvalidValue, match="from 1 to 20"):
            ledger.charge(2, {"step": 21}, None)
    path.write_bytes(path.read_bytes() + b'{"cut')
    assert read_account(path).counts()["step"] == 40
    with Ledger(path, "run", budget, tariff, at_once=20) as ledger:
        assert ledger.account.counts()["step"] == 40
    with pytest.raises(InvalidValue, match="another run, budget or tariff"):
        Ledger(path, "run", budget, tariff, at_once=30)


def test_where_it_cannot_be_written(tmp_path, path):
    with pytest.raises(OutputUnwritable):
        opened(tmp_path / "missing" / "ledger.jsonl")
    with pytest.raises(OutputUnwritable):
        read_account(tmp_path / "none")


def test_a_full_disk_releases_nothing_and_is_not_undercounted(path, monkeypatch):
    with opened(path) as ledger:
        ledger.charge(1, ONE, None)
        real = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: _half(real, fd, data, at))
        with pytest.raises(OutputUnwritable):
            ledger.charge(2, ONE, None)
        monkeypatch.undo()
        assert total(path) == 2  # the half line counts
        ledger.charge(2, ONE, None)
    assert total(path) == 2


def _half(real, fd, data, at):
    if len(data) > 20:
        return real(fd, data[:20], at)
    raise OSError(28, "No space left on device")


# Crashes. A child process is killed with SIGKILL inside the n-th system call of the ledger; whatever it had released by
# then must be counted by what the file says afterwards.


def crash(path, kill_at, released):
    """Run three rounds in a child that dies in its kill_at-th system call; True if it was killed."""
    pid = os.fork()
    if not pid:
        calls = iter(range(10_000))
        real = {name: getattr(os, name) for name in ("pwrite", "fsync", "ftruncate")}

        def dying(name):
            def call(fd, *args):
                if next(calls) == kill_at:
                    if name == "pwrite":  # a part of the line reaches the disk
                        real["pwrite"](fd, args[0][: len(args[0]) * kill_at % 97 % len(args[0])], args[1])
                    os.kill(os.getpid(), signal.SIGKILL)
                return real[name](fd, *args)

            return call

        for name in real:
            setattr(os, name, dying(name))
        try:
            with opened(path) as ledger:
                for round in range(3):
                    ledger.charge(round, ONE, None).redeem(EVENT)
                    with released.open("ab") as file:
                        file.write(b"x")
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_kill_at_any_moment_never_undercounts(path, tmp_path):
    opened(path).close()
    for count in range(6):  # so that the accountant is loaded, and knows the answers, before the forks
        spend([(EVENT, count)], BUDGET.neighbouring, BUDGET.delta)
    kill_at, outcomes = 0, []
    while True:
        path.unlink()
        released = tmp_path / f"released-{kill_at}"
        released.touch()
        killed = crash(path, kill_at, released)
        out = released.stat().st_size
        with opened(path) as ledger:  # a restart
            counted = ledger.account.counts()["update"]
            assert out <= counted <= out + 1, kill_at
            assert read_account(path) == ledger.account
            ledger.charge(9, ONE, None)
        outcomes.append((out, counted))
        if not killed:
            break
        kill_at += 1
    assert kill_at == 17  # four lines of four system calls, and one for the folder
    assert {out for out, _ in outcomes} == {0, 1, 2, 3}
    assert any(counted > out for out, counted in outcomes)


def whole(path):
    with opened(path) as ledger:
        for round in range(3):
            ledger.charge(round, ONE, [ANNA] if round else None)
    return path.read_bytes()


def test_a_cut_anywhere_in_the_last_line_is_counted_to_everybody(path):
    data = whole(path)
    start = data.rfind(b"\n", 0, -1) + 1
    for end in range(start + 1, len(data), 7):
        path.write_bytes(data[:end])
        assert read_account(path).counts(BERT)["update"] == 2
        with opened(path) as ledger:
            assert ledger.account.counts(BERT)["update"] == 2
            assert ledger.account.counts(ANNA)["update"] == 3
            assert ledger.account.to_json()["torn"] == 1
        again = read_account(path)
        assert again.counts(BERT)["update"] == 2  # once, not once per restart
        assert again.entries[-1].round == -1


@pytest.mark.parametrize("killed_after", ["pwrite", "fsync"])
def test_a_crash_while_a_cut_line_is_marked_still_counts_it(path, killed_after):
    data = whole(path)[:-5]
    path.write_bytes(data)
    pid = os.fork()
    if not pid:
        real = getattr(os, killed_after)

        def dying(fd, *args):
            if killed_after == "pwrite":
                real(fd, args[0][:30], args[1])
            else:
                real(fd)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, killed_after, dying)
        try:
            opened(path)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert total(path) >= 2
    with opened(path) as ledger:
        assert ledger.account.counts()["update"] >= 2


def test_every_edit_is_noticed(path):
    lines = whole(path).split(b"\n")[:-1]

    def cheaper(line):
        value = json.loads(line)
        value["clients"] = ["bert"]
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    for bad in (
        [*lines[:2], *lines[3:]],  # dropped
        [lines[0], lines[2], lines[1], lines[3]],  # reordered
        [*lines[:2], lines[1], *lines[2:]],  # repeated
        [*lines[:3], cheaper(lines[3])],  # edited
        [*lines[:3], lines[3].replace(b'"round"', b' "round"')],  # not canonical
        [*lines[:3], b"[]"],
        [*lines[:3], b"{}"],
        [*lines[:3], b"\xff"],
        lines[1:],  # beheaded
        [b"", *lines],
    ):
        path.write_bytes(b"\n".join(bad) + b"\n")
        with pytest.raises(BrokenChain, match=r"line|first"):
            read_account(path)
        with pytest.raises(BrokenChain):
            opened(path)


def test_an_empty_file_is_a_new_ledger_and_nothing_to_read(path):
    path.touch()
    with pytest.raises(BrokenChain):
        read_account(path)
    with opened(path) as ledger:
        ledger.charge(1, ONE, None)
    assert total(path) == 1


def test_what_show_prints(path):
    with opened(path) as ledger:
        ledger.charge(1, ONE, None)
        shown = ledger.account.to_json()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["left"] == pytest.approx(2.35 - shown["spent"]["epsilon"])
    assert set(shown) == {"run", "budget", "spent", "left", "charges", "torn", "clients_by_name", "tariff", "head"}


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 1e-5), (-1.0, 1e-5), (1.0, 0.0), (1.0, 1.0), (float("inf"), 1e-5)]
)
def test_budgets_are_budgets(epsilon, delta):
    with pytest.raises(InvalidValue):
        Budget(epsilon, delta, Neighbouring.REPLACE, Unit.CLIENT)


def test_only_the_owner_may_read_a_new_ledger(path):
    opened(path).close()
    assert Path(path).stat().st_mode & 0o077 == 0
