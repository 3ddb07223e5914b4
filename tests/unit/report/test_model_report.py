"""The page, the terminal and the JSON about one model: every number there, everything escaped, nothing loaded."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from ringfort.audit.model import (
    MEASURED,
    CanaryFinding,
    ClassDrift,
    MaskRow,
    ModelAudit,
    Picture,
    Share,
    SliceFinding,
    Verdict,
)
from ringfort.core.errors import OutputUnwritable
from ringfort.report import ModelAuditResult, model_audit_html, model_audit_summary, write_model_audit

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&\"'"
HALF = Share(0.5, 0.4321, 0.5678, 123)


@pytest.fixture
def result(samples):
    images = np.random.default_rng(0).random((4, 1, 8, 8)).astype(np.float32)
    rows = (
        MaskRow(0, 12.34, True, HALF, 0.87, 1.01, 1.11, False),
        MaskRow(1, 2.34, True, Share(0.96, 0.9, 0.99, 100), -7.65, 0.19, 0.21, True),
        MaskRow(2, 55.5, False, HALF, None, None, None, False),
    )
    found = ModelAudit(
        verdict=Verdict.FLAGGED,
        reasons=("A small trigger turns 96% into coat.",),
        could_see=("One trigger of at most 6.1 inputs.",),
        not_covered=("Natural inputs as triggers.",),
        limits=MEASURED,
        classes=("shirt", "coat", "bag"),
        accuracy=Share(0.8123, 0.79, 0.83, 1000),
        trusted_accuracy=Share(0.8456, 0.82, 0.86, 1000),
        masks=rows,
        canaries=(CanaryFinding("patch below", 1, Share(0.913, 0.9, 0.93, 900), 0.017, 0.012),),
        drift=(ClassDrift(0, HALF, HALF), ClassDrift(1, Share(0, 0, 1, 0), None)),
        slices=(SliceFinding("edges", HALF, None, 2, Share(0.25, 0.2, 0.3, 40)),),
        pictures=(Picture(1, images, images[0], images / 2),),
        triggers=(),
        seconds=4.2,
    )
    after = replace(found, verdict=Verdict.NOT_FLAGGED, reasons=("No test crossed its limit.",))
    return ModelAuditResult("Shirts", "2026-01-02T03:04:05+00:00", samples.manifest(), "m.st", "ab" * 32, found,
                            ("unlearn", after))  # fmt: skip


def printed(result):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(model_audit_summary(result))
    return console.export_text()


def test_every_number_is_on_the_page_and_in_the_terminal(result):
    page, text = model_audit_html(result), printed(result)
    for said in ("FLAGGED", "81.2%", "84.6%", "-7.65", "0.19", "0.21", "patch below", "91.3%", "edges", "6.1 inputs"):
        assert said in page, said
        assert said in text, said
    assert "55.5" in page
    assert "43.2–56.8" in page
    assert "not found" in text
    assert "NOT FLAGGED" in text
    assert ">clean<" not in page.lower()


def test_the_trigger_is_a_picture_in_three_rows(result):
    page = model_audit_html(result)
    assert page.count("data:image/png;base64,") == 3
    assert "The smallest trigger found for coat" in page
    flat = replace(result.audit.pictures[0], originals=np.zeros((2, 30), dtype=np.float32))
    assert "data:image/png" not in model_audit_html(replace(result, audit=replace(result.audit, pictures=(flat,))))


def test_hostile_text_is_text(result):
    found = result.audit
    attacked = replace(
        found,
        reasons=(HOSTILE,),
        could_see=(HOSTILE,),
        not_covered=(HOSTILE,),
        classes=(HOSTILE,) * 3,
        canaries=tuple(replace(one, name=HOSTILE) for one in found.canaries),
        slices=tuple(replace(one, name=HOSTILE) for one in found.slices),
    )
    evil = replace(result, title=HOSTILE, file=HOSTILE, digest=HOSTILE, audit=attacked, repair=(HOSTILE, attacked))
    page = model_audit_html(evil)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\x1b" not in printed(evil)
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)


def test_a_model_that_could_not_be_searched_has_a_page(result):
    bare = replace(result.audit, masks=(), canaries=(), pictures=(), slices=(), verdict=Verdict.INCONCLUSIVE)
    page = model_audit_html(replace(result, audit=bare, repair=None))
    assert "could not run" in page
    assert "INCONCLUSIVE" in page
    assert "INCONCLUSIVE" in printed(replace(result, audit=bare, repair=None))


def test_both_files_are_written_and_json_holds_no_picture(result, tmp_path):
    written = write_model_audit(tmp_path, result)
    assert [path.name for path in written] == ["report.html", "report.json"]
    value = json.loads(written[1].read_text())
    assert value["schema"] == "ringfort-model-audit/1"
    assert value["repair"]["how"] == "unlearn"
    assert "pictures" not in value
    with pytest.raises(OutputUnwritable):
        write_model_audit(tmp_path / "none", result)
