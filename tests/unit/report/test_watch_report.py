"""What reports say about a watch: standings, reasons, evidence, and that no flag is not no attacker."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from ringfort.audit.results import ClientStanding, StandingChange, WatchReport
from ringfort.report import drill_html, drill_summary, report_json, train_html, train_summary
from ringfort.report.watching import caught, notable, standings_sentence

EVIL = "<script>alert(1)</script>[red]\x1b[31m"


def shown(renderable):
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return " ".join(console.file.getvalue().split())


@pytest.fixture
def watch():
    found = StandingChange(31, "trusted", "quarantined", ("evidence p = 0.003",), ("together-past: capital 312",))
    freed = StandingChange(35, "quarantined", "probation", (f"by a person: {EVIL}",), ())
    return WatchReport(
        alpha=0.01,
        detectors=("together-past", "together"),
        promised=("together-past",),
        reputation="together",
        standings={"trusted": 18, "probation": 1, "watched": 1},
        clients=(
            ClientStanding("client-00", "trusted", 0.9, 0, (StandingChange(5, "new", "trusted", ("good",), ()),)),
            ClientStanding("client-01", "probation", 0.4, 1, (found, freed)),
            ClientStanding("client-02", "new", None, 0, ()),
        ),
        refused=("round 4: release of client-09 by ann was not applied: there is no client client-09",),
    )


def test_the_terminal_says_where_everybody_stands_in_one_line(train, watch):
    text = shown(train_summary(replace(train, watch=watch)))
    assert standings_sentence(watch) in text
    assert "1 probation, 18 trusted and 1 watched; 1 client was ever quarantined" in text
    assert '"No flag" is not "no attacker".' in text
    assert "\x1b" not in text
    assert "The watch:" not in shown(train_summary(train))


def test_the_page_shows_reasons_and_evidence_of_those_who_stood_out(train, watch):
    page = train_html(replace(train, watch=watch))
    for said in ("together-past: capital 312", "evidence p = 0.003", "was not applied", "at most 1.0% of honest"):
        assert said in page
    assert "<script" not in page
    assert "What the watch made of them" not in train_html(train)


def test_only_those_who_stood_out_are_shown(watch):
    assert [one.client for one in notable(watch)] == ["client-01"]


def test_the_json_has_everybody(train, watch):
    assert '"client-02"' in report_json(replace(train, watch=watch))


def test_a_drill_counts_attackers_and_honest_clients_that_were_quarantined(drill):
    wall = drill.walls[1].name
    trials = tuple(
        replace(t, attackers_quarantined=None if t.attack == "none" else 3, honest_quarantined=1)
        if t.wall == wall
        else t
        for t in drill.trials
    )
    result = replace(drill, trials=trials)
    assert caught(result, "sign_flip", wall) == "3 of 4 attackers, 1 of 16 honest"
    assert caught(result, "none", wall) == "1 of 20 honest"
    assert caught(result, "sign_flip", drill.walls[0].name) == "–"
    assert "3 of 4 attackers, 1 of 16 honest" in shown(drill_summary(result))
    assert "Who the watch quarantined" in drill_html(result)
    assert "Who the watch quarantined" not in drill_html(drill)
