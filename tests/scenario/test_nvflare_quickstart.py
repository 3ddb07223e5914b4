"""The quick start as a user runs it: NVFlare's simulator, five sites in processes of their own, one of them hostile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringfort.rounds import read_records

JOB = Path(__file__).parents[2] / "examples" / "nvflare" / "job.py"


@pytest.fixture
def lab(tmp_path):
    """Runs the job; gives the accuracy of its model, and what it said."""
    pytest.importorskip("nvflare")

    def run(*words):
        done = subprocess.run(
            [sys.executable, str(JOB), "--run", "run", "--workspace", "workspace", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return float(done.stdout.rsplit("accuracy ", 1)[1]), said

    return run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_lines_save_the_quick_start_from_a_hostile_site(lab, tmp_path):
    accuracy, said = lab("--rounds", "3")
    assert accuracy > 0.9, said
    records = read_records(tmp_path / "run")[0]
    assert len(records) == 4
    for record in records[1:]:
        assert {v.client for v in record.verdicts} == {f"site-{number}" for number in range(1, 6)}
        assert [v.client for v in record.verdicts if v.weight == 0] == ["site-1"]
    again, said = lab("--rounds", "1")  # a second job goes on in the same folder
    assert again > 0.9, said
    assert "goes on after round 3" in said
    assert [record.round for record in read_records(tmp_path / "run")[0]] == [0, 1, 2, 3, 4]
    bare, said = lab("--bare", "--rounds", "3")
    assert bare < 0.5, said
