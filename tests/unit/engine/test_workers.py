import contextlib
import os
import signal
import sys
import time

import pytest

from ringfort.core.errors import InvalidValue, TransportError
from ringfort.engine import Workers


def results(pool, tasks, deadline=None):
    return {index: body for index, final, body in pool.map(tasks, deadline) if final}


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children():
    """Processes of ours, zombies among them."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(pid))
    return found


@pytest.fixture(autouse=True)
def _clean():
    """Every test here leaves no process, no zombie and no open file."""
    processes, files = children(), len(os.listdir("/proc/self/fd"))
    yield
    assert children() <= processes
    assert len(os.listdir("/proc/self/fd")) <= files


def echo(task, emit):
    return task


def by_word(task, emit):
    """A worker's whole vocabulary for these tests."""
    word, _, rest = task.decode().partition(" ")
    match word:
        case "sleep":
            time.sleep(float(rest))
        case "raise":
            raise ValueError(rest)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "count":
            for i in range(int(rest)):
                emit(str(i).encode())
        case "pid":
            return str(os.getpid()).encode()
    return task


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_task_gets_its_own_result(count):
    tasks = [str(i).encode() for i in range(40)]
    with Workers(lambda task, emit: task * 2, count) as pool:
        assert results(pool, tasks) == {i: task * 2 for i, task in enumerate(tasks)}
        assert results(pool, []) == {}
        assert results(pool, tasks[:3]) == {i: task * 2 for i, task in enumerate(tasks[:3])}


def test_results_are_matched_by_index_whatever_order_they_finish_in():
    with Workers(by_word, 2) as pool:
        order = [index for index, _, _ in pool.map([b"sleep 0.15", b"sleep 0", b"sleep 0.01", b"sleep 0"])]
    assert order[-1] == 0
    assert sorted(order) == [0, 1, 2, 3]


def test_progress_comes_before_its_result_in_the_order_it_was_sent():
    with Workers(by_word, 2) as pool:
        seen = list(pool.map([b"count 5", b"count 3"]))
    for index, task, n in ((0, b"count 5", 5), (1, b"count 3", 3)):
        own = [(final, body) for i, final, body in seen if i == index]
        assert own == [*((False, str(i).encode()) for i in range(n)), (True, task)]


def test_a_task_that_raises_is_a_transport_error_with_its_text(capfd):
    with Workers(by_word, 2) as pool:
        with pytest.raises(TransportError, match="a worker's task failed: ValueError: too bad"):
            results(pool, [b"raise too bad"])
        assert results(pool, [b"x", b"y"]) == {0: b"x", 1: b"y"}
    assert "Traceback" in capfd.readouterr().err


def test_an_error_text_that_cannot_be_encoded_does_not_take_the_worker_with_it(capfd):
    def breaks(task, emit):
        raise ValueError("half a pair \udcff")

    with Workers(breaks, 1) as pool, pytest.raises(TransportError, match=r"ValueError: half a pair \?"):
        results(pool, [b""])


@pytest.mark.parametrize("task", [b"die", b"exit"])
def test_a_worker_that_ends_in_its_task_is_a_transport_error(task):
    with Workers(by_word, 2) as pool, pytest.raises(TransportError, match="died while it had work"):
        results(pool, [b"x", task, b"y"])


def test_a_worker_killed_from_outside_is_a_transport_error_and_leaves_no_zombie():
    pool = Workers(by_word, 2)
    pids = [worker.pid for worker in pool._workers]
    flow = pool.map([b"count 1", b"sleep 20"])
    next(flow)
    os.kill(pool._workers[1].pid, signal.SIGKILL)
    with pytest.raises(TransportError, match=f"worker process {pids[1]} died"):
        list(flow)
    pool.close()
    assert not any(alive(pid) for pid in pids)


def test_a_worker_killed_while_it_was_idle_is_a_transport_error():
    with Workers(by_word, 1) as pool:
        assert results(pool, [b"x"]) == {0: b"x"}
        os.kill(pool._workers[0].pid, signal.SIGKILL)
        os.waitid(os.P_PID, pool._workers[0].pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(TransportError):
            results(pool, [b"x"])


def test_closing_reaps_every_worker_idle_busy_or_stopped_and_is_idempotent():
    pool = Workers(by_word, 3)
    pids = [worker.pid for worker in pool._workers]
    next(pool.map([b"count 1", b"sleep 30", b"sleep 30"]))
    start = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - start < 2
    assert not any(alive(pid) for pid in pids)


def test_a_worker_that_does_not_listen_is_killed_after_the_grace_time(monkeypatch):
    monkeypatch.setattr("ringfort.engine.workers._GRACE_S", 0.1)

    def deaf(task, emit):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        emit(b"ready")
        time.sleep(30)

    pool = Workers(deaf, 1)
    next(pool.map([b""]))
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 2


def test_closing_one_of_two_pools_is_quick_and_leaves_the_other_alone():
    with Workers(echo, 2) as first, Workers(echo, 2) as second:
        start = time.monotonic()
        first.close()
        assert time.monotonic() - start < 2
        assert results(second, [b"x"]) == {0: b"x"}


def test_pools_may_be_closed_in_any_order_and_made_again():
    pools = [Workers(echo, 1) for _ in range(4)]
    start = time.monotonic()
    for i in (1, 3, 0, 2):
        pools[i].close()
    assert time.monotonic() - start < 2
    with Workers(echo, 1) as pool:
        assert results(pool, [b"x"]) == {0: b"x"}


def test_a_worker_may_have_a_pool_of_its_own():
    def nested(task, emit):
        with Workers(lambda inner, emit: inner + b"!", 2) as pool:
            return b"".join(body for _, body in sorted(results(pool, [task, task]).items()))

    with Workers(echo, 1), Workers(nested, 2) as pool:
        assert results(pool, [b"a", b"b"]) == {0: b"a!a!", 1: b"b!b!"}


def test_workers_die_with_a_parent_that_was_killed():
    read, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        pools = [Workers(echo, 2), Workers(echo, 1)]
        os.write(write_end, " ".join(str(w.pid) for pool in pools for w in pool._workers).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(write_end)
    with os.fdopen(read, "rb") as pipe:
        workers = [int(word) for word in pipe.read().split()]  # ends when the last holder of the pipe is gone
    os.waitpid(pid, 0)
    until = time.monotonic() + 5
    while any(_running(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(0.01)
    assert len(workers) == 3
    assert not any(_running(worker) for worker in workers)


def _running(pid):
    """Alive and not merely unreaped by whoever adopted it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_map_left_halfway_never_lends_its_results_to_the_next():
    with Workers(by_word, 2) as pool:
        flow = pool.map([b"count 1", b"sleep 0.05"])
        next(flow)
        flow.close()
        with pytest.raises(TransportError, match="not finished"):
            results(pool, [b"x", b"y"])


def test_after_the_deadline_no_task_is_begun_and_late_results_are_dropped():
    with Workers(by_word, 2) as pool:
        start = time.monotonic()
        got = results(pool, [b"x", b"sleep 0.5", b"sleep 0.5", b"y"], start + 0.25)
        assert got == {0: b"x"}
        assert time.monotonic() - start < 1
        assert results(pool, [b"a", b"b"]) == {0: b"a", 1: b"b"}


def test_a_deadline_that_has_passed_begins_nothing():
    with Workers(by_word, 1) as pool:
        assert results(pool, [b"x"], time.monotonic() - 1) == {}


def test_messages_of_eight_megabytes_go_both_ways():
    big = os.urandom(1 << 20) * 8
    with Workers(lambda task, emit: (emit(task[:100]), task[::-1])[1], 2) as pool:
        assert results(pool, [big, big[1:]]) == {0: big[::-1], 1: big[:0:-1]}


def test_more_large_results_than_a_pipe_holds_do_not_lock_up():
    with Workers(lambda task, emit: bytes(200_000), 3) as pool:
        assert len(results(pool, [b"x"] * 12)) == 12


def test_ctrl_c_in_the_terminal_does_not_reach_a_worker():
    with Workers(by_word, 1) as pool:
        for worker in pool._workers:
            os.kill(worker.pid, signal.SIGINT)
        assert results(pool, [b"x"]) == {0: b"x"}


def test_nothing_that_goes_through_a_pool_has_to_be_picklable(monkeypatch):
    import pickle

    def forbidden(*_, **__):
        raise AssertionError("something was pickled")

    for name in ("dumps", "loads", "dump", "load"):
        monkeypatch.setattr(pickle, name, forbidden)
    lock = (i for i in range(3))  # a generator: cannot be pickled
    with Workers(lambda task, emit: task + str(next(lock)).encode(), 1) as pool:
        assert results(pool, [b"a", b"b"]) == {0: b"a0", 1: b"b1"}


@pytest.mark.parametrize("count", [0, -1, 1.5, True, None])
def test_a_pool_of_no_processes_cannot_be_made(count):
    with pytest.raises(InvalidValue):
        Workers(echo, count)


def test_workers_run_in_processes_of_their_own():
    with Workers(by_word, 3) as pool:
        pids = set(results(pool, [b"pid"] * 30).values())
        assert pids <= {str(worker.pid).encode() for worker in pool._workers}
    assert str(os.getpid()).encode() not in pids
