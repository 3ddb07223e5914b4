"""ringfort export: a run's rounds in TensorBoard and MLflow."""

import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ringfort.app.control.numbers import numbers
from ringfort.core import Failure, client_id
from ringfort.core.values import Action, Refusal, Verdict
from ringfort.rounds.record import RoundRecord

RUN = "0123456789abcdef0123456789abcdef"


def record(number, prev="", **changes):
    names = tuple(client_id(f"site-{i}") for i in range(5))
    made = RoundRecord(
        run=RUN, round=number, recipe="r", cohort=names if number else (), rule="Mean()", model="m", aggregate="a",
        next_model="m", verdicts=(), refusals=(), failures=(), absent=(), metrics={"accuracy": number / 8}, prev=prev,
    )  # fmt: skip
    if number:
        actions = (Action.ACCEPT, Action.ACCEPT, Action.EXCLUDE)
        made = replace(
            made,
            verdicts=tuple(Verdict(name, act, 0.5) for name, act in zip(names[:3], actions, strict=True)),
            refusals=(Refusal(names[3], "RF201", "shape", "<b>"),),
            absent=names[4:],
            watch={"standings": {"trusted": 4, "quarantined": 1}, "clients": {"site-1": {"reputation": 0.5}}},
            privacy={"spent": {"epsilon": 0.5 * number}, "budget": {"epsilon": 4.0}},
        )
    return replace(made, **changes)


def chain(count, first=(), **changes):
    made = list(first)
    for number in range(len(made), count):
        made.append(record(number, made[-1].digest if made else "", **changes))
    return made


def append(folder, records):
    with (folder / "rounds.jsonl").open("ab") as file:
        file.writelines(one.line() for one in records)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    (folder / "recipe.toml").write_text("[train]\nrounds = 6\n")
    append(folder, chain(4))
    return folder


# --- the numbers


def test_a_record_in_numbers():
    assert numbers(record(2)) == {
        "model/accuracy": 0.25,
        "updates/accept": 2, "updates/scale": 0, "updates/exclude": 1, "updates/quarantine": 0,
        "updates/refused": 1, "updates/failed": 0, "updates/absent": 1,
        "clients/new": 0, "clients/trusted": 4, "clients/watched": 0, "clients/quarantined": 1,
        "clients/probation": 0, "clients/revoked": 0,
        "privacy/epsilon_spent": 1.0, "privacy/epsilon_budget": 4.0, "privacy/budget_spent_ratio": 0.25,
    }  # fmt: skip
    assert numbers(record(0)) == {"model/accuracy": 0.0}
    sealed = record(1, seal="masks", aborts=("a", "b"), failures=(Failure(client_id("site-0"), "E", ""),))
    assert numbers(sealed)["secagg/aborts"] == 2
    assert numbers(sealed)["updates/failed"] == 1


def test_names_are_plain_and_few_whatever_a_record_holds():
    hostile = {"../../etc": 1.0, "a\x1b[31m\u202e": 2.0, "a b": 3.0, "a/b": 4.0, "..": 5.0, "": 6.0, "x" * 5000: 7.0}
    found = numbers(record(1, metrics=hostile))
    assert all(re.fullmatch(r"[a-z]+/[A-Za-z0-9_.-]{1,90}", name) for name in found)
    assert not any(name.split("/")[1].startswith(".") for name in found)
    assert sorted(value for name, value in found.items() if name.startswith("model/")) == [1, 2, 3, 4, 5, 6, 7]
    many = numbers(record(1, seal="masks", metrics={f"m{i}": 1.0 for i in range(1000)}))
    assert len(many) == 37
    crowd = record(1, watch={"standings": {"trusted": 1, **{f"site-{i}": 1 for i in range(99)}}})
    assert not any("site" in name for name in numbers(crowd))


# --- TensorBoard


@pytest.fixture
def tensorboard():
    return pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator


def points(read, tag="model/accuracy"):
    read.Reload()
    return [(one.step, one.value) for one in read.Scalars(tag)]


def test_tensorboard_reads_every_round_once(ringfort, run, tensorboard):
    done = ringfort("export", "tensorboard", run, "--to", "logs")
    assert done.exit_code == 0, done.stderr
    folder = f"logs/my_run-{RUN[:8]}"
    assert folder in done.stderr
    watching = tensorboard(folder)
    assert points(watching) == [(0, 0.0), (1, 0.125), (2, 0.25), (3, 0.375)]
    assert points(watching, "updates/accept") == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert points(watching, "privacy/budget_spent_ratio")[-1] == (3, 0.375)
    assert not any("site" in tag for tag in watching.Tags()["scalars"])
    append(run, chain(6, chain(4))[4:])
    for _ in range(2):
        assert ringfort("export", "tensorboard", run, "--to", "logs").exit_code == 0
        expected = [(number, number / 8) for number in range(6)]
        assert points(tensorboard(folder)) == expected
        assert points(watching) == expected  # one that was open all the time


def test_half_a_point_is_made_whole_and_other_contents_are_replaced(ringfort, run, tensorboard):
    folder = Path(f"logs/my_run-{RUN[:8]}")
    assert ringfort("export", "tensorboard", run, "--to", "logs").exit_code == 0
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert ringfort("export", "tensorboard", run, "--to", "logs").exit_code == 0
    assert [path.read_bytes() for path in folder.iterdir()] == [whole]
    file.write_bytes(whole + whole[-20:])
    (run / "rounds.jsonl").unlink()
    append(run, chain(2, metrics={"accuracy": 0.5}))
    assert ringfort("export", "tensorboard", run, "--to", "logs").exit_code == 0
    assert points(tensorboard(str(folder))) == [(0, 0.5), (1, 0.5)]
    assert len(list(folder.iterdir())) == 1


def test_two_runs_with_one_folder_name_do_not_mix(ringfort, run, tensorboard, tmp_path):
    other = tmp_path / "elsewhere" / run.name
    other.mkdir(parents=True)
    append(other, [record(0, run="f" * 32, metrics={"accuracy": 0.75})])
    for folder in (run, other):
        assert ringfort("export", "tensorboard", folder, "--to", "logs").exit_code == 0
    assert points(tensorboard("logs/my_run-ffffffff")) == [(0, 0.75)]
    assert len(points(tensorboard(f"logs/my_run-{RUN[:8]}"))) == 4


def test_following_goes_on_to_the_last_round(ringfort, run, tensorboard):
    rest = chain(7, chain(4))[4:]
    later = threading.Timer(0.7, append, (run, rest))
    later.start()
    done = ringfort("export", "tensorboard", run, "--to", "logs", "--follow")
    later.join()
    assert done.exit_code == 0, done.stderr
    assert [step for step, _ in points(tensorboard(f"logs/my_run-{RUN[:8]}"))] == list(range(7))


@pytest.mark.parametrize("damage", ["edited", "dropped", "not json"])
def test_a_damaged_chain_is_refused_and_the_earlier_export_stays(ringfort, run, tensorboard, damage):
    folder = f"logs/my_run-{RUN[:8]}"
    assert ringfort("export", "tensorboard", run, "--to", "logs").exit_code == 0
    path = run / "rounds.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "edited":
        lines[2] = lines[2].replace(b'"accuracy":0.25', b'"accuracy":0.99')
    elif damage == "dropped":
        del lines[2]
    else:
        lines[3] = b"{]\n"
    path.write_bytes(b"".join(lines))
    done = ringfort("export", "tensorboard", run, "--to", "logs")
    assert done.exit_code == 3
    assert "RF701" in done.stderr
    assert len(points(tensorboard(folder))) == 4


def test_what_is_no_run_is_refused(ringfort, run, tmp_path):
    assert "RF106" in ringfort("export", "tensorboard", tmp_path).stderr
    path = run / "rounds.jsonl"
    path.write_bytes(b"")
    assert "no committed record" in ringfort("export", "tensorboard", run).stderr
    append(run, [record(0, run="../../up")])
    assert "RF104" in ringfort("export", "tensorboard", run).stderr


def test_a_folder_that_cannot_be_written_is_said(ringfort, run, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    assert "RF107" in ringfort("export", "tensorboard", run, "--to", tmp_path / "file").stderr


@pytest.mark.parametrize(("tool", "more"), [("tensorboard", ()), ("mlflow", ("--to", "m.db"))])
def test_without_the_extra_the_install_line_is_printed(ringfort, run, monkeypatch, tool, more):
    monkeypatch.delitem(sys.modules, f"ringfort.app.sinks.{tool}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == tool]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, tool, None)
    done = ringfort("export", tool, run, *more)
    assert done.exit_code == 2
    assert f"pip install -c constraints.txt 'ringfort[{tool}]'" in done.stderr


# --- MLflow


@pytest.mark.parametrize(
    "to", ["", ".", "a?b", "no/such/folder/m.db", "databricks://x", "postgresql://h/d", "https://me:secret@host"]
)
def test_stores_that_mlflow_is_not_given(ringfort, run, to):
    done = ringfort("export", "mlflow", run, "--to", to)
    assert done.exit_code == 2
    assert "RF104" in done.stderr
    assert "secret" not in done.stderr


def test_mlflow_needs_to_be_told_where(ringfort, run):
    assert "--to" in ringfort("export", "mlflow", run).stderr


@pytest.fixture
def mlflow():
    """What the store holds: the runs, and the points of one name."""
    client = pytest.importorskip("mlflow").MlflowClient

    def look(file, name="model/accuracy"):
        store = client(tracking_uri=f"sqlite:///{file}")
        (found,) = store.search_runs([store.get_experiment_by_name("ringfort").experiment_id])
        history = store.get_metric_history(found.info.run_id, name)
        return found, sorted((one.step, one.value) for one in history)

    return look


@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_every_round_once(ringfort, run, mlflow, tmp_path):
    file = tmp_path / "m.db"
    for _ in range(2):
        done = ringfort("export", "mlflow", run, "--to", file)
        assert done.exit_code == 0, done.stderr
        found, seen = mlflow(file)
        assert seen == [(number, number / 8) for number in range(4)]
        assert found.data.tags["ringfort.run"] == RUN
        assert found.info.status == "RUNNING"
    assert "sent 0 new records" in done.stderr
    append(run, chain(7, chain(4))[4:])
    assert "sent 3 new records" in ringfort("export", "mlflow", run, "--to", file).stderr
    found, seen = mlflow(file)
    assert seen == [(number, number / 8) for number in range(7)]
    assert found.info.status == "FINISHED"
    assert found.data.metrics["clients/quarantined"] == 1
    assert not any("site" in name for name in found.data.metrics)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_refuses_another_history_of_the_run(ringfort, run, mlflow, tmp_path):
    file = tmp_path / "m.db"
    assert ringfort("export", "mlflow", run, "--to", file).exit_code == 0
    (run / "rounds.jsonl").unlink()
    append(run, chain(5, metrics={"accuracy": 1.0}))
    assert "RF701" in ringfort("export", "mlflow", run, "--to", file).stderr
    assert len(mlflow(file)[1]) == 4


@pytest.mark.filterwarnings("ignore")
def test_mlflow_takes_hostile_metric_names(ringfort, run, mlflow, tmp_path):
    file = tmp_path / "m.db"
    (run / "rounds.jsonl").unlink()
    append(run, chain(2, metrics={"../../etc": 1.0, "..": 2.0, "a\x1b\u202e": 3.0, "": 4.0}))
    done = ringfort("export", "mlflow", run, "--to", file)
    assert done.exit_code == 0, done.stderr
    assert len(mlflow(file, "round")[1]) == 2


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_store_is_said(ringfort, run, tmp_path, mlflow):
    (tmp_path / "m.db").write_text("no database\n" * 1000)
    assert "RF602" in ringfort("export", "mlflow", run, "--to", tmp_path / "m.db").stderr


def test_mlflow_tells_nobody(mlflow):
    asked = (
        "from ringfort.app.sinks.mlflow import quiet_mlflow; quiet_mlflow();"
        "from mlflow.telemetry.utils import is_telemetry_disabled as disabled;"
        "print(disabled())"
    )
    # Without what marks a test or a CI, where MLflow is silent anyway.
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "True"
