"""Runs that are killed at random moments, and runs that are long. Figures are benchmarks/'s, limits are here."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import crash, soak


@pytest.mark.slow
def test_runs_killed_at_random_moments_lose_nothing_and_end_with_the_same_bits():
    found = crash.measure(trials=5, rounds=12, clients=5)
    assert found["kills"] > 0
    assert (found["lost"], found["differs"], found["unsigned"]) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True], ids=["plain", "private"])
def test_two_hundred_rounds_of_fifty_clients_do_not_grow(tmp_path, private):
    found = soak.soak(200, 50, tmp_path, private=private)
    assert found["rss_slope_bytes_per_round"] < 20_000
    assert len(found["open_files"]) == 1


def test_a_commit_after_two_thousand_rounds_holds_no_more_memory_than_after_two(tmp_path):
    import tracemalloc

    peaks = []
    for rounds in (2, 2_000):
        (tmp_path / str(rounds)).mkdir()
        soak.long_journal(rounds, 5, tmp_path / str(rounds))
        tracemalloc.start()
        with soak.Journal(tmp_path / str(rounds)):
            peaks.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000
