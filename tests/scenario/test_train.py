"""Whole training runs on real data: what they leave behind, and that resuming changes nothing."""

from dataclasses import replace

import numpy as np
import pytest

from ringfort import data
from ringfort.aggregate import Krum, Mean, MultiKrum, TrimmedMean
from ringfort.audit import Manifest, Scenario, train
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.errors import Incompatible, NothingAdmitted, ToleranceExceeded
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import digest_of
from ringfort.rounds.fuse import Defence
from ringfort.rounds.gate import Gate
from ringfort.rounds.journal import Journal

MANIFEST = Manifest("0", "3", "p", {}, 1, {}, {}, "", "")


def scenario(**changes):
    split = data.load("breast-cancer")
    given = {
        "train": split.train,
        "test": split.test,
        "split": data.IID(9),
        "model": lambda: NumpyModel(30, 2),
        "training": LocalTraining(steps=4, batch=8, learning_rate=0.2),
        "gate": Gate(max_norm=1e4, max_examples=10_000),
        "rounds": 5,
        "cohort": None,
        "deadline_s": None,
        "sample": 50,
        "workers": 1,
        "recipe": "r",
    }
    return Scenario(**{**given, **changes})


def run(folder, rule=None, f=2, seed=1, **changes):
    folder.mkdir(exist_ok=True)
    seen = []
    with Journal(folder) as journal:
        result, model = train(
            scenario(**changes),
            Defence(rule or MultiKrum(f=2)),
            f,
            Seeds(seed),
            journal,
            title="t",
            manifest=MANIFEST,
            observe=seen.append,
        )
        return result, model, seen, journal.records


def test_a_run_leaves_its_model_its_records_and_a_row_per_client(tmp_path):
    result, model, seen, records = run(tmp_path)
    assert digest_of(model) == result.model == records[-1].next_model
    assert result.journal_head == records[-1].digest
    assert result.curve == tuple(seen)
    assert [point.round for point in seen] == [0, 1, 2, 3, 4, 5]
    assert result.accuracy > 0.9
    assert (result.wall.label, result.wall.bears, result.rounds, result.d) == ("MultiKrum(f=2)", 2, 5, 62)
    assert len(result.clients) == 9
    assert [row.examples for row in result.clients] == [sum(counts) for counts in result.label_counts]
    assert sum(row.examples for row in result.clients) == 456


def test_the_rows_add_up_to_what_the_rule_decided(tmp_path):
    result, _, _, records = run(tmp_path)
    for row in result.clients:
        assert row.rounds_asked == 5
        assert row.rounds_accepted + row.rounds_left_out == 5
        assert row.mean_share == pytest.approx(row.rounds_accepted / 5 / 7)
        assert bool(row.last_reason) == bool(row.rounds_left_out)
        assert "multi-krum score" in row.last_reason or not row.last_reason
    assert sum(row.rounds_left_out for row in result.clients) == 2 * 5
    assert sum(row.mean_share for row in result.clients) == pytest.approx(1)
    assert all(len(record.verdicts) == 9 for record in records[1:])


def test_a_cohort_is_asked_and_nobody_else(tmp_path):
    result, _, _, records = run(tmp_path, cohort=7)
    assert {len(record.cohort) for record in records[1:]} == {7}
    assert sum(row.rounds_asked for row in result.clients) == 7 * 5
    assert len({record.cohort for record in records[1:]}) > 1


def test_resuming_after_every_number_of_rounds_ends_where_one_run_ends(tmp_path):
    whole, model, _, _ = run(tmp_path / "whole")
    for stop in (1, 3, 5):
        run(tmp_path / str(stop), rounds=stop)
        resumed, same, seen, _ = run(tmp_path / str(stop), workers=2)
        assert same == model
        assert resumed.curve == whole.curve
        assert resumed.clients == whole.clients
        assert [point.round for point in seen] == list(range(stop, 6))


def test_a_run_is_a_function_of_its_seed_but_for_its_name(tmp_path):
    one, two, other = (run(tmp_path / name, seed=seed)[0] for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.model == two.model != other.model
    assert one.run != two.run
    assert one.journal_head != two.journal_head


def test_a_wall_that_cannot_bear_f_is_refused_before_the_first_round(tmp_path):
    for rule, f in ((Mean(), 1), (TrimmedMean(f=2), 3), (Krum(f=4), 4), (MultiKrum(f=2, m=8), 2)):
        with pytest.raises(ToleranceExceeded, match=f"not f={f}"):
            run(tmp_path, rule, f)
    with pytest.raises(ToleranceExceeded, match="among 6 clients"):
        run(tmp_path, MultiKrum(f=2), 2, cohort=6)
    assert (tmp_path / "rounds.jsonl").stat().st_size == 0


def test_the_mean_is_allowed_to_whoever_states_that_nobody_is_hostile(tmp_path):
    result, *_ = run(tmp_path, Mean(), 0)
    assert result.wall.bears == 0
    assert result.accuracy > 0.9


def test_a_journal_of_another_recipe_is_not_resumed(tmp_path):
    run(tmp_path, rounds=2)
    with pytest.raises(Incompatible, match="another recipe"):
        run(tmp_path, recipe="other")


def test_a_gate_that_refuses_everybody_ends_the_run_with_the_first_reason(tmp_path):
    with pytest.raises(NothingAdmitted, match=r"round 1: none of 9 updates was admitted \(norm-cap"):
        run(tmp_path, gate=Gate(max_norm=1e-6, max_examples=10_000))
    with Journal(tmp_path) as journal:
        assert len(journal.records) == 1


def test_clients_whose_code_fails_are_counted_and_the_rest_goes_on(tmp_path):
    class Fragile(NumpyModel):
        def train(self, params, data, plan, rng):
            if len(data) == 40:
                raise MemoryError("no room")
            return super().train(params, data, plan, rng)

    result, *_ = run(tmp_path, model=lambda: Fragile(30, 2), split=lambda d, seeds: _parts(d))
    (failed,) = [row for row in result.clients if row.failures]
    assert failed.examples == 40
    assert failed.failures == 5
    assert failed.last_reason == "MemoryError: no room"
    assert (failed.rounds_accepted, failed.mean_share) == (0, 0.0)
    assert result.accuracy > 0.9


def _parts(dataset):
    return (*np.array_split(np.arange(40, len(dataset)), 8), np.arange(40))


def test_what_is_not_covered_is_said(tmp_path):
    result, *_ = run(tmp_path, rounds=1)
    assert any("No attack was run" in sentence for sentence in result.not_covered)
    assert replace(result, seconds=0.0).to_json()["schema"] == "ringfort-train/1"
