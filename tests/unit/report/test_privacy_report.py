"""The privacy report's page, terminal and JSON: every number there, everything escaped, nothing loaded."""

import base64
import json
import re
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from ringfort.audit.canary import Claim, ClaimAudit, Estimate, Finding, Severity, Sight, Verdict, no_claim
from ringfort.audit.canary import Test as ClaimTest
from ringfort.audit.finding import Status
from ringfort.audit.inference import (
    Ceiling,
    InferenceThreat,
    Likeness,
    PrivacyReport,
    PropertyFinding,
    Rates,
    Server,
    View,
)
from ringfort.audit.inference.findings import privacy_findings
from ringfort.audit.inference.report import Membership, Reconstruction
from ringfort.core.errors import OutputUnwritable
from ringfort.report import PrivacyResult, findings_list, plain_json, privacy_html, privacy_summary, write_privacy
from ringfort.report.pictures import strip
from ringfort.report.svg import Line, log_chart

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&\"'"
VOID = {"meta", "link", "br", "img"}
THREAT = InferenceThreat("Know.", View.RAW_UPDATES, Server.PASSIVE, "the model")
RATES = Rates(0.703, 0.68, 0.726, 0.66, 0.051, None, 500, 900, ((0.0, 0.0), (0.004, 0.03), (0.5, 0.8), (1.0, 1.0)))
CEILING = Ceiling(0.905, 0.82, 0.333, 0.123)
LIKE = Likeness(0.25, 0.5, 31.5, 0.81, 10.5, 0.21)


class Page(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def audited(verdict=Verdict.REFUTED):
    return ClaimAudit(
        verdict=verdict,
        summary="Claimed epsilon 4.38: a sentence.",
        claim=Claim(1.0, 1.0, 1.0, 1, 1e-5),
        claimed_epsilon=4.381,
        tests=(ClaimTest("noise", "Is there less?", 1.5e-7, 0.004), ClaimTest("one run", "Likewise?", 0.7, 0.004)),
        rigorous_epsilon=1.234,
        estimate=Estimate(12.07, 10.51, 13.99),
        sight=Sight(0.987, 1.213, 0.5),
        canaries=500,
        seconds=1.0,
    )


@pytest.fixture
def result(samples):
    images = np.random.default_rng(1).random((8, 1, 28, 28))
    report = PrivacyReport(
        claim=audited(),
        findings=(Finding("sampling", Severity.HIGH, "What.", "Why.", "Fix."),),
        accuracy=0.7654,
        membership=(
            Membership("update cosine", View.RAW_UPDATES, THREAT, RATES, None),
            Membership("loss threshold", View.FINAL_MODEL, THREAT, RATES, CEILING),
        ),
        reconstruction=(
            Reconstruction("imprint", THREAT, "clip 1, noise 0.1", 8, LIKE, 0.875, images, images / 2),
            Reconstruction("first layer", THREAT, "none", 8, replace(LIKE, ssim=None, baseline_ssim=None), None,
                           images[:, 0, 0], images[:, 0, 0]),
        ),
        wanted="bright shirts",
        properties=PropertyFinding(replace(RATES, auc=0.912), replace(RATES, auc=0.451), 1, 100),
        not_covered=("An attack that fails is no proof.",),
        seconds=12.0,
    )  # fmt: skip
    return PrivacyResult("Shirts", "2026-01-02T03:04:05+00:00", samples.manifest(), report)


@pytest.fixture
def evil(samples, result):
    report = result.report
    attacked = replace(
        report,
        claim=replace(
            report.claim,
            summary=HOSTILE,
            tests=tuple(replace(test, name=HOSTILE, question=HOSTILE) for test in report.claim.tests),
        ),
        findings=(Finding(HOSTILE, Severity.MEDIUM, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        membership=tuple(
            replace(one, attack=HOSTILE, threat=replace(THREAT, knows=HOSTILE)) for one in report.membership
        ),
        reconstruction=tuple(replace(one, attack=HOSTILE, protection=HOSTILE) for one in report.reconstruction),
        wanted=HOSTILE,
        not_covered=(HOSTILE,),
    )
    manifest = replace(result.manifest, command=HOSTILE, data={HOSTILE: HOSTILE}, recipe={HOSTILE: [HOSTILE]})
    return PrivacyResult(HOSTILE, HOSTILE, manifest, attacked)


def text_of(renderable, width=150):
    console = Console(width=width, file=None, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


# --- the page


def test_the_page_holds_every_number_apart(result):
    page = privacy_html(result)
    for text in ("REFUTED", "4.38", "1.23", "12.07", "10.51 to 13.99", "noise ×0.99", "×1.21", "1.5e-07", "0.004"):
        assert text in page
    for text in ("0.703", "0.680–0.726", "5.1%", "0.905, 33.3%, 12.3%", "not covered", "76.5%"):
        assert text in page
    for text in ("0.912", "0.451", "bright shirts", "25.0%", "50.0%", "31.5", "10.5", "0.810", "0.210", "87.5%"):
        assert text in page
    for text in ("sampling", "HIGH", "What.", "An attack that fails is no proof.", result.manifest.command):
        assert text in page


def test_the_page_never_says_that_something_is_private(result):
    for verdict in Verdict:
        changed = replace(result, report=replace(result.report, claim=audited(verdict)))
        (badge,) = re.findall(r'<span class="badge \w+">([A-Z ]+)</span> Claimed', privacy_html(changed))
        assert badge == verdict.value.upper()


def test_no_claim_shows_no_epsilon_and_no_tests(result):
    report = replace(result.report, claim=no_claim(), findings=(), membership=result.report.membership[:1])
    page = privacy_html(replace(result, report=report))
    assert "NO CLAIM" in page
    assert "Rigorous lower bound" not in page
    assert "The tests of the claim" not in page
    assert "claim permits</text>" not in page


def test_the_page_loads_nothing_and_every_picture_is_described(result):
    page = privacy_html(result)
    parsed = Page(page)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & set(parsed.tags)
    assert not re.search(r"https?:|url\(|@import|javascript:", page)
    sources = [value for name, value in parsed.attributes if name == "src"]
    assert len(sources) == 2  # the other reconstruction is of no image
    assert [decoded(value)[:3] for value in sources] == [(8 * 29 - 1, 28, 0)] * 2
    alts = [value for name, value in parsed.attributes if name == "alt"]
    assert alts == [
        "The original 8 images that the client trained on",
        "What the attack read back for the 8 images. Protection: clip 1, noise 0.1. "
        "50.0% above 25 dB, 25.0% above 40 dB, mean PSNR 31.5 dB",
    ]
    assert parsed.tags.count("svg") == len(View)


def test_the_same_victims_stand_over_what_every_protection_left_of_them(result):
    (one, other), images = result.report.reconstruction, np.zeros((8, 1, 28, 28))
    several = tuple(replace(one, protection=name, pictures=images + i / 4) for i, name in enumerate(("none", "a", "b")))
    report = replace(result.report, reconstruction=(*several, replace(several[0], batch=1), other))
    page = privacy_html(replace(result, report=report))
    parsed = Page(page)
    sources = [value for name, value in parsed.attributes if name == "src"]
    assert len(sources) == (1 + 3) + (1 + 1)  # the originals once for each attack and batch
    places = [
        page.index(said) for said in ("batch of 8</figcaption>", "Protection: none", "Protection: a", "Protection: b")
    ]
    assert sorted(places[1:]) == places[1:]


def test_hostile_text_is_escaped_everywhere(evil):
    page = privacy_html(evil)
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;alert(1)") > 10
    said = text_of(privacy_summary(evil))
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert json.loads(plain_json(evil.to_json()))["title"] == HOSTILE


# --- the terminal and the files


def test_the_summary_begins_with_the_verdict_and_holds_the_numbers(result):
    said = text_of(privacy_summary(result))
    assert said.startswith("REFUTED\nShirts\n")
    for text in ("Claimed epsilon: 4.38", "Rigorous lower bound: 1.23", "Estimate: 12.07", "noise ×0.99", "HIGH"):
        assert text in said
    for text in ("0.703 (0.68–0.73)", "5.1%", "33.3%", "not covered", "AUC 0.912", "0.451", "31.5 (10.5)", "no proof"):
        assert text in said


def test_a_summary_without_property_and_reconstruction_leaves_them_out(result):
    report = replace(result.report, properties=None, wanted=None, reconstruction=(), findings=())
    said = text_of(privacy_summary(replace(result, report=report)))
    assert "Property" not in said
    assert "PSNR" not in said
    assert "No reconstruction ran" in privacy_html(replace(result, report=report))


def test_findings_are_listed_with_their_places():
    finding = Finding("LocalDpMod", Severity.HIGH, "What.", "Why.", "Fix.", "a.py:3")
    assert text_of(findings_list((finding,))).startswith("HIGH  LocalDpMod: What. [a.py:3]")
    assert text_of(findings_list(())) == "none\n"


def test_both_files_are_written_and_agree(tmp_path, result):
    page, values = write_privacy(tmp_path, result)
    assert (page.name, values.name) == ("report.html", "report.json")
    plain = json.loads(values.read_text())
    assert plain["claim"]["claimed_epsilon"] == 4.381
    assert plain["claim"]["tests"][0]["rejected"] is True
    assert plain["title"] == "Shirts"
    assert "originals" not in values.read_text()
    with pytest.raises(OutputUnwritable):
        write_privacy(tmp_path / "nowhere", result)


def test_what_is_no_number_becomes_null(result):
    claim = replace(result.report.claim, claimed_epsilon=float("inf"))
    plain = json.loads(plain_json(replace(result, report=replace(result.report, claim=claim)).to_json()))
    assert plain["claim"]["claimed_epsilon"] is None


# --- drawings


def decoded(address):
    """Width, height, colour type and lines of a PNG, its checksums verified."""
    raw = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        kind, content = raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]
        assert struct.unpack(">I", raw[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + content),)
        chunks[kind], at = content, at + 12 + length
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert depth == 8
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return width, height, colour, lines[:, 1:]


def test_a_strip_is_a_png_of_its_images_side_by_side():
    images = np.array([[[[0.0, 1.0], [0.5, 2.0]]], [[[-1.0, np.nan], [1.0, 0.2]]]])
    width, height, colour, lines = decoded(strip(images))
    assert (width, height, colour) == (5, 2, 0)
    assert lines.tolist() == [[0, 255, 0, 0, 0], [128, 255, 0, 255, 51]]


def test_colours_stay_apart():
    images = np.zeros((1, 3, 1, 2))
    images[0, 2, 0, 1] = 1
    width, height, colour, lines = decoded(strip(images))
    assert (width, height, colour) == (2, 1, 2)
    assert lines.tolist() == [[0, 0, 0, 0, 0, 255]]


def test_a_logarithmic_chart_gives_each_decade_the_same_room():
    drawing = log_chart("T", "D", [Line("a", ((0.001, 0.001), (0.1, 0.01), (1.0, 1.0)))], across="false alarms")
    (path,) = re.findall(r'fill="none" stroke-dasharray="7 4" d="M([^"h]+)"', drawing)
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, point.split())) for point in path.split("L")]
    assert (x1 - x0) / (x2 - x0) == pytest.approx(2 / 3, abs=0.01)
    assert (y0 - y1) / (y0 - y2) == pytest.approx(1 / 3, abs=0.01)
    assert ">0.1%<" in drawing
    assert ">false alarms<" in drawing


def test_a_chart_without_points_says_so():
    assert "no data" in log_chart("T", "D", [Line("a", ())], across="x")


# --- findings


def test_a_privacy_report_as_findings(result):
    found = privacy_findings(result.report, "ringfort audit privacy r.toml")
    by = {(one.check, one.attack): one for one in found}
    claim = by["privacy/claim", "canaries"]
    assert (claim.severity, claim.status) == (Severity.CRITICAL, Status.FAIL)
    assert by["sampling", ""].what == "What."
    assert {one.check for one in found} == {
        "privacy/claim",
        "sampling",
        "privacy/membership",
        "privacy/property",
        "privacy/reconstruction",
    }
    exposed = RATES.tpr_at_1_percent >= 0.05
    assert by["privacy/membership", "update cosine"].status is (Status.FAIL if exposed else Status.PASS)
    read = next(one for one in found if one.check == "privacy/reconstruction")
    assert (read.status is Status.FAIL) == (LIKE.recognisable > 0)
    assert all(one.fix for one in found)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict.CONSISTENT, Status.PASS),
        (Verdict.INCONCLUSIVE, Status.INCONCLUSIVE),
        (Verdict.NO_CLAIM, Status.FAIL),
        (Verdict.REFUTED, Status.FAIL),
    ],
)
def test_what_a_verdict_is_as_a_finding(result, verdict, status):
    report = replace(result.report, claim=replace(result.report.claim, verdict=verdict))
    assert privacy_findings(report, "")[0].status is status


def test_a_likeness_that_the_mean_input_has_as_well_is_no_reconstruction(result):
    report = result.report
    [one, *_] = report.reconstruction
    sparse = replace(one, likeness=replace(LIKE, exact=0.0, recognisable=1.0, psnr=27.8, baseline_psnr=27.2))
    found = privacy_findings(replace(report, reconstruction=(sparse,)), "")
    [read] = [one for one in found if one.check == "privacy/reconstruction"]
    assert read.status is Status.PASS
    assert "nothing recognisable" in read.what
    exact = replace(one, likeness=replace(sparse.likeness, exact=0.5))
    [read] = [f for f in privacy_findings(replace(report, reconstruction=(exact,)), "") if "reconstr" in f.check]
    assert (read.status, read.severity) == (Status.FAIL, Severity.CRITICAL)
