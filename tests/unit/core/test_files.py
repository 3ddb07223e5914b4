import math
import os
import subprocess
import sys

import pytest

from ringfort.core import files
from ringfort.core.errors import OutputUnwritable
from ringfort.core.files import canonical_json, write_atomic


def test_equal_values_have_one_spelling():
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == canonical_json({"a": "é", "b": [1, 2.5]})
    assert canonical_json({"a": "é"}) == '{"a":"é"}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_never_holds_what_json_has_no_word_for(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": value})


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "report.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_old_file_survives_a_write_that_fails(tmp_path, monkeypatch, step):
    path = tmp_path / "report.json"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(files.os, "fsync", full)
    else:
        monkeypatch.setattr(files.Path, "replace", full)
    with pytest.raises(OutputUnwritable, match="No space left"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_missing_folder_is_a_sentence_and_not_a_traceback(tmp_path):
    with pytest.raises(OutputUnwritable, match="cannot write"):
        write_atomic(tmp_path / "nowhere" / "x", b"")


def test_a_file_size_limit_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    script = f"""
import resource
from pathlib import Path
from ringfort.core.errors import OutputUnwritable
from ringfort.core.files import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path({str(path)!r}), bytes(5000))
except OutputUnwritable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("RF107 cannot write")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]
