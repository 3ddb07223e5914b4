import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from ringfort.audit.drill_findings import drill_findings, taxonomy_of
from ringfort.audit.finding import Finding, Measured, Severity, Status, Taxonomy, grade, worst_first
from ringfort.audit.results import NO_ATTACK, Outcome
from ringfort.core.errors import OutputUnwritable
from ringfort.report.card import model_card
from ringfort.report.findings import failing, findings_json, write_findings
from ringfort.report.junit import junit
from ringfort.report.sarif import sarif


def finding(status=Status.FAIL, severity=Severity.HIGH, **changes):
    return replace(Finding("check/one", severity, "What.", "Why.", "Fix."), status=status, **changes)


@pytest.fixture
def drill(samples):
    return samples.drill()


# --- what a drill finds


def test_there_is_one_finding_for_each_attack_and_wall_and_it_says_what_the_cell_says(drill):
    found = drill_findings(drill)
    assert len(found) == len(drill.attacks) * len(drill.walls)
    words = {Outcome.HOLDS: Status.PASS, Outcome.FALLS: Status.FAIL, Outcome.UNTESTED: Status.INCONCLUSIVE}
    by = {(one.attack, one.defence): one for one in found}
    for attack in drill.attacks:
        for wall in drill.walls:
            cell = drill.cell(attack.name, wall.name)
            assert by[attack.name, wall.label].status is words[cell.outcome]
            assert by[attack.name, wall.label].why == cell.why
    assert all(one.command == drill.manifest.command for one in found)
    assert {Status.PASS, Status.FAIL} <= {one.status for one in found}


def test_that_the_undefended_mean_falls_is_information_and_that_a_wall_falls_is_not(drill):
    for one in drill_findings(drill):
        if one.status is Status.FAIL:
            assert (one.severity is Severity.INFO) == (one.defence == drill.walls[0].label)


def test_a_backdoor_that_works_every_other_time_is_critical(drill):
    by = {(one.attack, one.defence): one for one in drill_findings(drill)}
    assert by["pixel_backdoor", "GeometricMedian()"].severity is Severity.CRITICAL  # 65 %
    assert by["pixel_backdoor", "TrimmedMean(f=4)"].severity is Severity.HIGH  # 30 %
    [loss, success] = by["pixel_backdoor", "GeometricMedian()"].measured
    assert (success.threshold, round(success.baseline, 3)) == (0.10, 0.006)
    assert loss.threshold == 0.05


def test_a_cell_without_a_result_is_an_error(drill):
    cells = tuple(
        replace(c, accuracy=None, accuracy_loss=None, attack_success=None, outcome=Outcome.ERROR, why="RF602 gone")
        if (c.attack, c.wall) == ("alie", "mean")
        else c
        for c in drill.cells
    )
    [broken] = [one for one in drill_findings(replace(drill, cells=cells)) if one.status is Status.ERROR]
    assert broken.why == "RF602 gone"
    assert broken.measured == ()


def test_attacks_are_filed_by_what_they_do(drill):
    filed = {attack.name: taxonomy_of(attack).atlas[0] for attack in drill.attacks}
    assert filed == {
        "sign_flip": "AML.T0031",
        "alie": "AML.T0031",
        "label_flip": "AML.T0020",
        "pixel_backdoor": "AML.T0018.000",
    }


# --- grade and failing


def test_the_grade_is_that_of_the_worst_and_nothing_but_a_pass_is_a_pass():
    passed, open_ = finding(Status.PASS, Severity.INFO), finding(Status.INCONCLUSIVE, Severity.INFO)
    assert grade([passed]) == "pass"
    assert grade([]) == grade([passed, open_]) == "inconclusive"
    assert grade([passed, open_, finding(Status.ERROR, Severity.INFO)]) == "error"
    assert grade([*[passed] * 99, finding(), finding(severity=Severity.CRITICAL)]) == "critical"
    assert worst_first([passed, finding(severity=Severity.LOW), finding()])[0].severity is Severity.HIGH


@pytest.mark.parametrize(
    ("least", "count"), [(Severity.CRITICAL, 1), (Severity.HIGH, 2), (Severity.MEDIUM, 2), (Severity.LOW, 3)]
)
def test_failures_that_severe_and_errors_fail_a_pipeline(least, count):
    found = [
        finding(),
        finding(severity=Severity.LOW),
        finding(severity=Severity.INFO),
        finding(Status.PASS, Severity.CRITICAL),
        finding(Status.INCONCLUSIVE, Severity.CRITICAL),
        finding(Status.ERROR, Severity.INFO),
    ]
    assert len(failing(found, least)) == count


# --- files


def test_sarif_has_what_its_readers_need(drill):
    found = drill_findings(drill)
    log = json.loads(sarif(found, drill.manifest, "recipes/fashion.toml"))
    assert log["version"] == "2.1.0"
    [run] = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(run["results"]) == len(found)
    named = {component["name"]: {taxon["id"] for taxon in component["taxa"]} for component in run["taxonomies"]}
    assert {component["name"] for component in run["tool"]["driver"]["supportedTaxonomies"]} == set(named)
    for result, one in zip(run["results"], found, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == one.check
        assert (result["kind"] == "fail") == (result["level"] != "none")
        assert result["kind"] != "pass" or one.status is Status.PASS
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "recipes/fashion.toml"
        assert all(taxon["id"] in named[taxon["toolComponent"]["name"]] for taxon in result["taxa"])
        assert result["taxa"]
    prints = [result["partialFingerprints"]["ringfortFinding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    assert run["invocations"][0]["commandLine"] == drill.manifest.command


def test_a_finding_with_a_place_is_filed_there():
    log = json.loads(sarif([finding(where="app dir/server.py:12"), finding(where="/etc/app.toml")], None, "r.toml"))
    places = [result["locations"][0]["physicalLocation"] for result in log["runs"][0]["results"]]
    assert places[0] == {"artifactLocation": {"uri": "app%20dir/server.py"}, "region": {"startLine": 12}}
    assert places[1] == {"artifactLocation": {"uri": "etc/app.toml"}}


def test_junit_counts_failures_errors_and_what_was_skipped(drill):
    found = (*drill_findings(drill), finding(Status.ERROR), finding(Status.INCONCLUSIVE))
    root = ElementTree.fromstring(junit(found, "Drill"))  # noqa: S314 - our own
    cases = root.findall(".//testcase")
    assert len(cases) == len(found) == int(root.get("tests"))
    fails = sum(one.status is Status.FAIL and one.severity is not Severity.INFO for one in found)
    assert len(root.findall(".//failure")) == int(root.get("failures")) == fails > 0
    assert len(root.findall(".//error")) == int(root.get("errors")) == 1
    assert len(root.findall(".//skipped")) == int(root.get("skipped")) >= 1
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {wall.label for wall in drill.walls} | {"check"}
    assert suites["Mean()"].get("failures") == "0"


def test_hostile_text_stays_text(samples):
    evil = samples.hostile(samples.drill())
    found = drill_findings(evil)
    xml, log = junit(found, samples.HOSTILE), sarif(found, evil.manifest, samples.HOSTILE)
    ElementTree.fromstring(xml)  # noqa: S314 - our own
    for text in (xml, log, findings_json(found, samples.HOSTILE)):
        assert "\x1b" not in text
        assert "\x00" not in text
        text.encode()
    assert "<script>" not in xml
    assert "\\ud800" not in log


def test_the_three_files_are_written_and_say_the_same(drill, tmp_path):
    found = drill_findings(drill)
    written = write_findings(tmp_path, found, "Title", "r.toml", drill.manifest)
    assert [path.name for path in written] == ["findings.json", "findings.sarif", "findings.junit.xml"]
    value = json.loads(written[0].read_text())
    assert value["grade"] == grade(found) == "critical"
    assert len(value["findings"]) == len(found)
    assert value["findings"][0]["severity"] == "critical"
    with pytest.raises(OutputUnwritable):
        write_findings(tmp_path / "missing", found, "Title", "r.toml", None)


def test_numbers_that_json_cannot_hold_are_left_out(tmp_path):
    odd = finding(measured=(Measured("x", math.nan, 0.0, 1.0), Measured("y", 0.5, 0.4, 0.6)))
    for path in write_findings(tmp_path, [odd], "t", "r", None)[:2]:
        assert "NaN" not in path.read_text()
        assert '"y"' in path.read_text()


def test_taxonomy_ids_have_their_lists_form(drill):
    for one in drill_findings(drill):
        assert all(re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", taxon) for taxon in one.taxonomy.atlas)
        assert all(re.fullmatch(r"ML\d\d:2023", taxon) for taxon in one.taxonomy.owasp)
        assert all(re.fullmatch(r"2\.\d\.\d", taxon) for taxon in one.taxonomy.nist)
    assert Taxonomy(("AML.T0020",), (), ("2.3.1",)).ids() == ("AML.T0020", "NIST AI 100-2 section 2.3.1")


# --- the model card


def test_the_card_names_the_file_and_leaves_the_intended_use_open(samples):
    result = samples.train()
    card = model_card(result)
    assert f"`{result.model}`" in card
    assert f"`{result.journal_head}`" in card
    assert "To be written by whoever releases the model" in card
    assert card.count("\n| ") >= len(result.classes)
    assert NO_ATTACK not in card.splitlines()[0]


def test_a_card_without_protection_says_so(samples):
    card = model_card(replace(samples.train(), protections=()))
    assert "Nothing protected the clients' updates from the server" in card


def test_nobody_writes_markup_into_a_card(samples):
    evil = samples.hostile(samples.train())
    evil = replace(evil, title="# [x](http://a) | *b* <img src=x>", protections=("a\n\n## Compliant",))
    card = model_card(evil)
    assert "<img" not in card
    assert "](http" not in card
    assert "\n## Compliant" not in card
    assert len([line for line in card.splitlines() if line.startswith("#")]) == 7
