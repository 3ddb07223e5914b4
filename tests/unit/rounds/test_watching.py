"""The watch in the loop: what its rulings do to a round, to f, to who is asked, to the record, and across restarts."""

from dataclasses import replace

import numpy as np
import pytest

from ringfort.aggregate import Krum, Mean, Median, TrimmedMean, chain
from ringfort.aggregate.mixing import NNM
from ringfort.core import Seeds, client_id
from ringfort.core.context import RoundContext
from ringfort.core.errors import Incompatible, NothingAdmitted, ToleranceExceeded
from ringfort.core.values import Action
from ringfort.core.views import Rows, Total
from ringfort.detect import Calibrated, Calibration, Norm, Policy, Standing, Watch, recommended
from ringfort.rounds import Defence, Journal, fuse
from ringfort.rounds.decisions import Decision, Decisions
from ringfort.rounds.dossier import dossiers
from ringfort.rounds.watching import decide, require_watch
from ringfort.secagg.seals import SEALS

ROUND = RoundContext(1, Seeds(1))


def rows(n=9, d=20, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return Rows(tuple(client_id(f"c{i}") for i in range(n)), matrix)


def without(view, *gone):
    keep = [i for i, client in enumerate(view.clients) if client not in gone]
    return Rows(tuple(view.clients[i] for i in keep), view.matrix[keep])


# --- one round ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Mean(), Median(), TrimmedMean(f=2), Krum(f=2), chain(NNM(f=2), TrimmedMean(f=2))])
def test_a_watch_that_finds_nobody_changes_no_bit(rule, watch):
    plain, watched = fuse(rows(), Defence(rule), ROUND), fuse(rows(), Defence(rule, watch()), ROUND)
    assert watched.aggregate.delta.tobytes() == plain.aggregate.delta.tobytes()
    assert [v.action for v in watched.verdicts] == [v.action for v in plain.verdicts]
    assert np.allclose([v.weight for v in watched.verdicts], [v.weight for v in plain.verdicts])


@pytest.mark.parametrize("rule", [Mean(), Median(), TrimmedMean(f=2), Krum(f=2), chain(NNM(f=2), TrimmedMean(f=2))])
def test_a_quarantined_row_leaves_the_view(rule, watch):
    fused = fuse(rows(), Defence(rule, watch("c3", "c7")), ROUND)
    expected = fuse(without(rows(), "c3", "c7"), Defence(rule), ROUND)
    assert np.allclose(fused.aggregate.delta, expected.aggregate.delta, rtol=1e-6, atol=1e-7)
    by_name = {v.client: v for v in fused.verdicts}
    assert tuple(by_name) == rows().clients
    for name in ("c3", "c7"):
        assert (by_name[name].action, by_name[name].weight) == (Action.QUARANTINE, 0.0)
        assert by_name[name].reasons == ("quarantined",)
    assert sum(v.weight for v in fused.verdicts) == pytest.approx(1)
    assert {(t.client, t.after) for t in fused.transitions} == {
        ("c3", Standing.QUARANTINED),
        ("c7", Standing.QUARANTINED),
    }


def test_a_scaled_row_counts_less_and_its_verdict_says_so(watch):
    defence = Defence(Mean(), watch("c0", until=1))
    memory = fuse(rows(), defence, ROUND).memory
    freed, _ = defence.watch.release(defence.watched(memory), client_id("c0"), "enough", 1)
    view = rows(seed=99)
    fused = fuse(view, defence, RoundContext(2, Seeds(1), memory=defence.with_watched(memory, freed)))
    verdict = fused.verdicts[0]
    assert verdict.action is Action.SCALE
    assert "probation" in verdict.reasons[0]
    factor = verdict.weight / fused.verdicts[1].weight
    assert 0 < factor < 0.5
    scaled = view.matrix.copy()
    scaled[0] *= factor
    assert np.allclose(fused.aggregate.delta, scaled.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_the_rules_memory_and_the_watchs_lie_side_by_side(watch):
    from ringfort.aggregate import FoolsGold

    plain, watched = Defence(FoolsGold()), Defence(FoolsGold(), watch())
    memories = [{}, {}]
    for number in (1, 2, 3):
        view = rows(seed=number)
        fused = [
            fuse(view, defence, RoundContext(number, Seeds(1), memory=memory))
            for defence, memory in zip((plain, watched), memories, strict=True)
        ]
        assert fused[0].aggregate.delta.tobytes() == fused[1].aggregate.delta.tobytes()
        memories = [one.memory for one in fused]
    assert {name.split("/")[0] for name in memories[1]} == {"rule", "watch"}
    assert {f"rule/{name}" for name in memories[0]} <= set(memories[1])
    assert int(memories[1]["watch/accuser/seen"][0]) == 3


def test_a_round_in_which_all_are_quarantined_makes_no_step_and_keeps_the_quarantines(watch):
    view = rows(4)
    fused = fuse(view, Defence(Median(), watch(*view.clients)), ROUND)
    assert not fused.aggregate.delta.any()
    assert fused.aggregate.delta.shape == (20,)
    assert {v.action for v in fused.verdicts} == {Action.QUARANTINE}
    assert len(fused.transitions) == 4


def test_too_few_left_for_the_rule_make_no_step_but_too_few_that_came_are_refused(watch):
    view = rows(5)
    defence = Defence(Krum(f=1), watch("c0", "c1", "c2"))
    fused = fuse(view, defence, ROUND)
    assert not fused.aggregate.delta.any()
    assert [v.action for v in fused.verdicts] == [Action.QUARANTINE] * 3 + [Action.EXCLUDE] * 2
    assert fused.verdicts[3].reasons[0] == "too few are left for a step"
    assert fused.transitions
    with pytest.raises(ToleranceExceeded):
        fuse(rows(2), Defence(Krum(f=1), watch()), ROUND)


@pytest.mark.parametrize(
    ("n", "refused", "quarantined", "f"),
    [
        (9, 0, 4, 3),  # large enough: nothing is spent
        (7, 0, 1, 3),
        (6, 0, 1, 2),
        (6, 0, 3, 2),  # no lower than n makes necessary
        (4, 0, 3, 1),
        (4, 0, 1, 2),  # and by no more than were found: the rule will refuse
        (4, 1, 1, 1),
        (1, 0, 9, 0),
    ],
)
def test_quarantined_clients_lower_f_one_by_one_and_only_as_far_as_needed(n, refused, quarantined, f):
    assert Defence(TrimmedMean(f=3)).facing(n, refused, quarantined) == Defence(TrimmedMean(f=f))


def test_quarantines_lower_f_in_the_same_round_and_the_label_says_how_it_ran(watch):
    fused = fuse(rows(9), Defence(TrimmedMean(f=4), watch("c1", "c2")), ROUND)
    assert fused.defence.label == "Watch(alpha=0.01) | TrimmedMean(f=3)"


def test_barred_places_of_the_cohort_count_as_found(watch):
    assert fuse(rows(7), Defence(TrimmedMean(f=4), watch()), ROUND, barred=2).defence.rule == TrimmedMean(f=3)
    with pytest.raises(ToleranceExceeded):
        fuse(rows(7), Defence(TrimmedMean(f=4), watch()), ROUND)


def test_a_sum_cannot_be_watched(watch):
    view = rows()
    with pytest.raises(Incompatible, match="a sum shows none"):
        fuse(Total(view.matrix.sum(axis=0), view.clients), Defence(Mean(), watch()), ROUND)


# --- refused before round 1 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seal", "why"),
    [
        ("masked", "only the sum"),
        ("encrypted", "only the sum"),
        ("grouped", "groups that are drawn anew"),
        ("shared", "remembers clients from round to round"),
    ],
)
def test_a_watch_under_a_seal_is_refused_with_the_reason(seal, why, watch):
    with pytest.raises(Incompatible, match=f"{why}.*: leave out the watch .*, or leave out the seal"):
        require_watch(watch(), SEALS[seal], 10)


def test_every_seal_was_asked():
    assert set(SEALS) <= {"masked", "encrypted", "threshold", "grouped", "shared"}


def test_a_calibration_on_shorter_pilots_is_refused_before_round_1():
    calibration = Calibration("norm", 2, 5, np.arange(200.0))
    made = Watch((Calibrated(Norm(), calibration),), Policy(alpha=0.01, reputation="norm-pilots"))
    require_watch(made, None, 5)
    with pytest.raises(Incompatible, match="pilots of 5 rounds, and this federation has 6"):
        require_watch(made, None, 6)


def test_a_federation_refuses_decisions_without_a_watch(toy):
    with pytest.raises(Incompatible, match="without a watch"):
        toy.federation(decisions=lambda done: ())


# --- the loop -----------------------------------------------------------------------------------------------------


def records_of(federation):
    return [state.record for state in federation.states()]


def test_a_quarantined_client_is_not_asked_until_its_term_has_ended(toy, watch):
    found = watch("c1", since=3, until=3, term=2)
    records = records_of(toy.federation(rounds=7, defence=Defence(Mean(), found)))
    asked = [record.round for record in records if "c1" in record.cohort]
    assert asked == [1, 2, 3, 6, 7]
    assert [record.round for record in records if "c1" in record.watch.get("barred", ())] == [4, 5]
    [told] = [t for record in records for t in record.watch.get("transitions", ()) if t["after"] == "quarantined"]
    assert (told["client"], told["round"], told["before"]) == ("c1", 3, "new")
    assert records[3].watch["clients"]["c1"]["standing"] == "quarantined"
    assert {e["client"] for e in records[3].watch["evidence"]} == {"c1"}
    assert records[3].watch["standings"] == {"new": 4, "quarantined": 1}
    assert [v.action for v in records[3].verdicts if v.client == "c1"] == [Action.QUARANTINE]


def test_a_plain_round_has_no_watch_in_its_record(toy):
    record = toy.federation(rounds=1).run().record
    assert "watch" not in record.to_json()


def test_with_a_watch_that_finds_nobody_the_models_are_those_without(toy, watch):
    plain = toy.federation(rounds=4, rule=TrimmedMean(f=1)).run()
    watched = toy.federation(rounds=4, defence=Defence(TrimmedMean(f=1), watch())).run()
    assert watched.params.tobytes() == plain.params.tobytes()


def test_cohorts_are_drawn_from_those_who_may_be_asked(toy, watch):
    defence = Defence(Mean(), watch("c0", "c1", since=1, term=30))
    records = records_of(toy.federation(n=6, rounds=12, defence=defence, cohort=3))
    barred = [set(record.watch.get("barred", ())) for record in records[1:]]
    assert all(not barred_now & set(record.cohort) for barred_now, record in zip(barred, records[1:], strict=True))
    assert all(len(record.cohort) == 3 for record in records[1:])
    assert barred[-1] == {"c0", "c1"}


def test_poisson_coins_are_tossed_for_everybody_and_the_barred_are_struck(toy, watch, tmp_path):
    Decisions(tmp_path).append(Decision("revoke", client_id("c0"), "left", "ann"))
    watched = {"defence": Defence(Mean(), watch()), "decisions": Decisions(tmp_path).since}
    plain, struck = (records_of(toy.federation(n=8, rounds=8, rate=0.6, **more)) for more in ({}, watched))
    assert any("c0" in record.cohort for record in plain)
    assert [record.cohort for record in struck[1:]] == [
        tuple(client for client in record.cohort if client != "c0") for record in plain[1:]
    ]


def test_a_poisson_cohort_of_barred_clients_only_makes_no_step(toy, watch, tmp_path):
    for name in toy.names(5)[1:]:
        Decisions(tmp_path).append(Decision("revoke", name, "left", "ann"))
    federation = toy.federation(
        rounds=12, rate=0.6, defence=Defence(Mean(), watch()), decisions=Decisions(tmp_path).since
    )
    cohorts = []
    state = federation.begin()
    for _ in range(12):
        state = federation.step(state)
        cohorts.append(state.record.cohort)
        if not state.record.cohort:
            assert state.record.next_model == state.record.model
    assert () in cohorts


def test_quarantines_lower_f_where_n_became_too_small(toy, watch):
    defence = Defence(TrimmedMean(f=2), watch("c0", since=2, term=30))
    labels = [record.rule.split(" | ")[1] for record in records_of(toy.federation(rounds=4, defence=defence))[1:]]
    assert labels == ["TrimmedMean(f=2)", "TrimmedMean(f=1)", "TrimmedMean(f=1)", "TrimmedMean(f=1)"]


def test_when_all_are_quarantined_that_is_committed_and_the_next_round_is_refused(toy, watch, tmp_path):
    defence = Defence(Mean(), watch(*toy.names(5), since=2))
    with Journal(tmp_path) as journal:
        federation = toy.federation(rounds=5, defence=defence, journal=journal)
        with pytest.raises(NothingAdmitted, match=r"all 5 clients are quarantined or revoked.*--resume"):
            federation.run()
        assert journal.head.round == 2
        assert journal.head.next_model == journal.head.model
        assert len(journal.head.watch["transitions"]) == 5
    Decisions(tmp_path).append(Decision("release", client_id("c0"), "false alarm", "ann"))
    calm = Defence(Mean(), watch())
    with Journal(tmp_path) as journal:
        last = toy.federation(rounds=5, defence=calm, journal=journal, decisions=Decisions(tmp_path).since).run()
    assert last.record.cohort == ("c0",)


def test_people_decide_before_the_next_round_and_the_record_says_so(toy, watch, tmp_path):
    desk = Decisions(tmp_path)
    federation = toy.federation(rounds=6, defence=Defence(Mean(), watch()), decisions=desk.since)
    state = federation.step(federation.begin())
    desk.append(Decision("quarantine", client_id("c1"), "odd", "ann", 2))
    desk.append(Decision("revoke", client_id("c2"), "left", "bob"))
    state = federation.step(state)
    assert state.record.cohort == ("c0", "c3", "c4")
    assert state.record.watch["decided"] == 2
    assert [(t["client"], t["after"], t["reasons"]) for t in state.record.watch["transitions"]] == [
        ("c1", "quarantined", ["by a person: odd (ann)"]),
        ("c2", "revoked", ["by a person: left (bob)"]),
    ]
    state = federation.step(state)
    assert "c1" not in state.record.cohort
    state = federation.step(state)
    assert "c1" in state.record.cohort
    desk.append(Decision("release", client_id("c2"), "is back", "bob"))
    state = federation.step(state)
    assert "c2" in state.record.cohort
    assert state.record.watch["clients"]["c2"]["standing"] == "probation"
    assert state.record.watch["decided"] == 3


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        (Decision("release", client_id("c1"), "x", "ann"), "c1 is new: only the quarantined and revoked"),
        (Decision("revoke", client_id("stranger"), "x", "ann"), "there is no client stranger"),
    ],
)
def test_a_decision_that_cannot_be_applied_is_recorded_and_ends_nothing(toy, watch, tmp_path, decision, why):
    desk = Decisions(tmp_path)
    desk.append(decision)
    federation = toy.federation(rounds=2, defence=Defence(Mean(), watch()), decisions=desk.since)
    first, second = records_of(federation)[1:]
    [refused] = first.watch["refused"]
    assert refused["client"] == decision.client
    assert why in refused["why"]
    assert first.watch["decided"] == second.watch["decided"] == 1
    assert "refused" not in second.watch
    assert len(first.cohort) == 5


def test_the_watch_and_the_decisions_survive_a_resume_bit_for_bit(toy, watch, tmp_path):
    found = watch("c1", since=3, until=4, term=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
        Decisions(folder).append(Decision("quarantine", client_id("c4"), "odd", "ann", 4))

    def run(folder, rounds):
        with Journal(folder) as journal:
            return toy.federation(
                rounds=rounds,
                defence=Defence(TrimmedMean(f=1), found),
                journal=journal,
                decisions=Decisions(folder).since,
            ).run()

    expected = run(whole, 9)
    for rounds in range(1, 10):
        last = run(cut, rounds)
    assert last.params.tobytes() == expected.params.tobytes()
    assert last.history == expected.history
    assert set(last.memory) == set(expected.memory)
    assert all(np.array_equal(last.memory[name], expected.memory[name]) for name in last.memory)
    assert replace(last.record, run="", prev="") == replace(expected.record, run="", prev="")


def test_a_dossier_tells_a_clients_story(toy, watch, tmp_path):
    desk = Decisions(tmp_path)
    desk.append(Decision("revoke", client_id("c2"), "left", "bob"))
    found = watch("c1", since=2, until=2, term=1)
    records = records_of(toy.federation(rounds=5, defence=Defence(Mean(), found), decisions=desk.since))
    told = dossiers(records)
    assert tuple(told) == toy.names(5)
    c1 = told["c1"]
    assert (c1.asked, c1.quarantines, c1.standing, c1.barred) == (4, 1, "probation", False)
    assert [(change.round, change.after) for change in c1.changes] == [(2, "quarantined"), (4, "probation")]
    assert c1.changes[0].evidence[0]["p_value"] == 1e-9
    assert [number for number, _ in c1.recent] == [1, 2, 4, 5]
    assert told["c2"].barred
    assert told["c2"].changes[0].evidence == ()


def test_deciding_leaves_the_memory_it_was_given_alone(watch):
    found = watch()
    memory = fuse(rows(), Defence(Mean(), found), ROUND).memory
    mine = Defence(Mean(), found).watched(memory)
    before = {name: values.tobytes() for name, values in mine.items()}
    desk = decide(found, mine, [Decision("revoke", client_id("c1"), "x", "y")], ["c1"], 2, 0)
    assert {name: values.tobytes() for name, values in mine.items()} == before
    assert found.barred(desk.memory, 2) == {"c1"}


def test_the_recommended_watch_shares_one_gram_matrix_with_the_rule_also_after_rows_left(watch):
    """T G T': the products are those of the whole view, taken once."""
    view = rows(12, 3000)
    made = recommended(0.01)
    made.inspect(view, ROUND)
    kept = view.mixed(np.eye(12)[2:], view.clients[2:])
    assert kept._points is view._points
    assert np.array_equal(kept.gram(), view.gram()[2:, 2:])
