"""What each command prints, writes and exits with. In this process: tests/scenario/test_cli.py has the real ones."""

import hashlib
import json
import tomllib

import pytest
import typer
from safetensors.numpy import load_file

from ringfort import data
from ringfort.app import recipe as recipes
from ringfort.app.commands.shared import reported
from ringfort.core.errors import InvalidValue, known_codes


def refused(result, code, exit_code):
    """One line on stderr with the code and how to read more; nothing on stdout."""
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(f"error: {code} ")
    assert lines[0].endswith(f"[ringfort explain {code}]")
    return lines[0]


# --- explain, data, recipe


@pytest.mark.parametrize("code", ["RF301", "rf301", " RF301 "])
def test_explain_says_what_happened_what_to_do_and_whether_it_is_an_attack(ringfort, code):
    result = ringfort("explain", code)
    assert result.exit_code == 0
    assert result.stdout.startswith("RF301 ToleranceExceeded\n")
    assert all(heading in result.stdout for heading in ("What happened", "What to do", "Is it an attack?"))


@pytest.mark.parametrize("code", known_codes())
def test_every_known_code_is_explained(ringfort, code):
    assert ringfort("explain", code).exit_code == 0


def test_explain_refuses_an_unknown_code_with_a_suggestion(ringfort):
    assert "did you mean 'RF301'" in refused(ringfort("explain", "RF3011"), "RF101", 2)


def test_data_list_names_every_data_set_and_whether_it_is_here(ringfort):
    rows = json.loads(ringfort("data", "list", "--json").stdout)
    assert [row["name"] for row in rows] == list(data.names())
    assert {row["name"]: row["here"] for row in rows}["digits"] is True
    assert next(row for row in rows if row["name"] == "digits")["train"] == 1438
    text = ringfort("data", "list")
    assert text.exit_code == 0
    assert "digits" in text.stdout


def test_data_verify_says_ok_and_exits_0(ringfort):
    result = ringfort("data", "verify", "digits")
    assert result.exit_code == 0
    assert result.stdout.split()[0] == "ok"


def test_data_verify_of_what_is_missing_or_damaged_exits_3(ringfort, tmp_path, monkeypatch):
    monkeypatch.setenv("RINGFORT_DATA", str(tmp_path))
    missing = ringfort("data", "verify", "fashion-mnist")
    assert missing.exit_code == 3
    assert "missing" in missing.stdout
    assert missing.stderr.startswith("error: RF703 ")


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_data_commands_refuse_unknown_names(ringfort, command):
    assert "did you mean 'digits'" in refused(ringfort("data", command, "digit"), "RF101", 2)


def test_recipe_show_prints_the_resolved_recipe_as_toml_or_json(ringfort, recipe):
    shown = ringfort("recipe", "show", recipe, "--set", "train.rounds=9")
    value = tomllib.loads(shown.stdout)
    assert value["train"] == {
        "rounds": 9,
        "steps": 5,
        "batch": 8,
        "learning_rate": 0.2,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "workers": 1,
        "evaluate_on": 2000,
    }
    assert json.loads(ringfort("recipe", "show", recipe, "--set", "train.rounds=9", "--json").stdout) == value


def test_recipe_validate_checks_combinations_without_training(ringfort, recipe, tmp_path):
    fine = ringfort("recipe", "validate", recipe)
    assert fine.exit_code == 0
    assert recipes.read(recipe).digest()[:12] in fine.stdout
    refused(ringfort("recipe", "validate", recipe, "--set", "defence.f=5"), "RF301", 3)
    refused(ringfort("recipe", "validate", recipe, "--set", 'drill.walls=["median"]'), "RF103", 2)
    refused(ringfort("recipe", "validate", recipe, "--set", "train.cohort=11"), "RF103", 2)
    refused(ringfort("recipe", "validate", recipe, "--set", "data.name=brest-cancer"), "RF101", 2)
    assert not any((tmp_path / "work").iterdir())


def test_recipe_schema_is_json(ringfort):
    assert json.loads(ringfort("recipe", "schema").stdout)["title"] == "Recipe"


# --- drill


def test_drill_writes_the_report_the_recipe_and_the_manifest(ringfort, recipe, tmp_path):
    out = tmp_path / "out"
    result = ringfort("drill", recipe, "--out", out, "--json", "--set", "title=Overridden <b>")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert sorted(path.name for path in out.iterdir()) == [
        *("findings.json", "findings.junit.xml", "findings.sarif"),
        *("manifest.json", "recipe.toml", "report.html", "report.json"),
    ]
    assert json.loads((out / "report.json").read_text()) == printed
    assert printed["schema"] == "ringfort-drill/1"
    assert printed["title"] == "Overridden <b>"
    assert len(printed["cells"]) == 6
    assert len(printed["trials"]) == 6
    assert len(printed["hostile"]) == 2
    outcomes = {(cell["attack"], cell["wall"]): cell["outcome"] for cell in printed["cells"]}
    assert outcomes["sign-flip", "mean"] == "falls"
    assert outcomes["sign-flip", "median"] == "holds"
    read = recipes.parse(tomllib.loads((out / "recipe.toml").read_text()))
    assert read == recipes.read(recipe, ["title=Overridden <b>"])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["recipe_digest"] == read.digest()
    assert manifest["recipe"] == read.resolved()
    assert manifest["data"]["name"] == "breast-cancer"
    assert manifest["seed"] == 1
    assert data.load("breast-cancer").digests().items() <= manifest["data"].items()
    assert manifest == printed["manifest"]
    page = (out / "report.html").read_text()
    assert "Overridden &lt;b&gt;" in page
    assert "Overridden <b>" not in page
    assert "Median holds against sign-flip" in page


def test_drill_without_json_prints_a_summary_and_says_what_it_wrote(ringfort, recipe, tmp_path):
    result = ringfort("drill", recipe)
    assert result.exit_code == 0
    assert "Median" in result.stdout
    assert "wrote runs/small-drill/report.html" in result.stderr
    assert (tmp_path / "work" / "runs" / "small-drill" / "report.json").exists()
    quiet = ringfort("drill", recipe, "--quiet", "--json")
    assert quiet.stderr == ""
    assert json.loads(quiet.stdout)["rounds"] == 3


def test_drill_exits_1_if_a_wall_that_must_hold_does_not(ringfort, recipe):
    only = ["--set", 'drill.attacks=[{name="sign-flip", scale=20.0}]', "-q"]
    assert ringfort("drill", recipe, *only, "--must-hold", "median").exit_code == 0
    falls = ringfort("drill", recipe, *only, "--must-hold", "median", "--must-hold", "mean")
    assert falls.exit_code == 1
    assert falls.stderr.startswith("mean does not hold against sign-flip: ")
    assert len(falls.stderr.splitlines()) == 1


def test_a_wall_that_was_not_tested_does_not_count_as_holding(ringfort, recipe):
    weak = ["--set", 'drill.attacks=[{name="sign-flip", scale=0.001}]', "-q"]
    result = ringfort("drill", recipe, *weak, "--must-hold", "median")
    assert result.exit_code == 1
    assert "did not break the undefended mean" in result.stderr


@pytest.mark.parametrize(
    ("scale", "words", "exit_code"),
    [
        (20.0, ["--fail-on", "high"], 0),  # the median holds, and the mean is no wall
        (20.0, ["--fail-on", "low", "--must-hold", "median"], 0),
        (0.001, ["--fail-on", "critical"], 0),  # untested: no pass, but no failure either
    ],
)
def test_drill_fails_on_findings_from_a_severity_on(ringfort, recipe, scale, words, exit_code):
    attack = f'drill.attacks=[{{name="sign-flip", scale={scale}}}]'
    assert ringfort("drill", recipe, "--set", attack, "-q", *words).exit_code == exit_code


def test_drill_exits_1_and_names_the_finding_that_a_pipeline_does_not_tolerate(ringfort, recipe):
    loose = ["--set", 'drill.attacks=[{name="sign-flip", scale=20.0}]', "--set", "drill.thresholds.accuracy_loss=0.0"]
    harder = ["--set", "train.rounds=1", "--set", 'drill.walls=["mean", "krum"]']
    result = ringfort("drill", recipe, *loose, *harder, "-q", "--fail-on", "high")
    findings = json.loads((recipe.parent / "work/runs/small-drill/findings.json").read_text())
    [krum] = [one for one in findings["findings"] if one["defence"].startswith("Krum")]
    assert krum["status"] == "fail"
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{krum['severity']}: Krum")
    assert {path.suffix for path in (recipe.parent / "work/runs/small-drill").iterdir()} >= {".sarif", ".xml"}


def test_drill_refuses_to_require_a_wall_that_is_not_in_the_recipe(ringfort, recipe):
    assert "did you mean 'median'" in refused(ringfort("drill", recipe, "--must-hold", "medain"), "RF101", 2)


def test_a_drill_whose_trials_fail_before_their_first_round_still_ends_with_a_report(ringfort, recipe, monkeypatch):
    def breaks(*args, **options):
        raise ValueError("no federation today")

    monkeypatch.setattr("ringfort.audit.scenario.Scenario.federation", breaks)
    done = ringfort("drill", recipe, "--json")
    assert done.exit_code == 0
    outcomes = {cell["outcome"] for cell in json.loads(done.stdout)["cells"] if cell["attack"] != "none"}
    assert outcomes == {"error"}


def test_drill_needs_a_drill_table(ringfort, recipe):
    recipe.write_text(recipe.read_text().partition("[drill]")[0])
    assert "no [drill] table" in refused(ringfort("drill", recipe), "RF104", 2)


REFUSALS = [
    (["--set", "train.round=5"], "RF101", 2),
    (["--set", "train.rounds=five"], "RF104", 2),
    (["--set", "train.rounds"], "RF104", 2),
    (["--set", "defence.rule=multikrum"], "RF101", 2),
    (["--set", "data.name=digit"], "RF101", 2),
    (["--set", "gate.max_norm=inf"], "RF104", 2),
    (["--set", "defence.f=5"], "RF301", 3),
    (["--set", "train.cohort=3"], "RF301", 3),
]


@pytest.mark.parametrize("command", ["drill", "train"])
@pytest.mark.parametrize(("words", "code", "exit_code"), REFUSALS)
def test_what_cannot_run_is_refused_on_one_line_with_its_exit_code(ringfort, recipe, command, words, code, exit_code):
    refused(ringfort(command, recipe, *words, "--json"), code, exit_code)


@pytest.mark.parametrize("command", ["drill", "train"])
def test_bad_files_are_refused(ringfort, recipe, tmp_path, command):
    refused(ringfort(command, tmp_path / "nothing.toml"), "RF106", 2)
    refused(ringfort(command, tmp_path), "RF104", 2)
    recipe.write_text("title = \n[")
    refused(ringfort(command, recipe), "RF104", 2)


@pytest.mark.parametrize("command", ["drill", "train"])
def test_an_output_folder_below_a_regular_file_is_refused_before_anything_runs(ringfort, recipe, tmp_path, command):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "out", tmp_path / "file"):
        assert "cannot write to" in refused(ringfort(command, recipe, "--out", out), "RF107", 2)
    assert (tmp_path / "file").read_text() == "x"


def test_an_error_with_line_feeds_is_still_one_line(ringfort, recipe, tmp_path):
    odd = tmp_path / "two\nlines\x1b[31m.toml"
    line = refused(ringfort("drill", odd), "RF106", 2)
    assert "\x1b" not in line


# --- train


def test_train_writes_a_model_that_its_report_names_and_safetensors_loads(ringfort, recipe, tmp_path):
    out = tmp_path / "out"
    result = ringfort("train", recipe, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["schema"] == "ringfort-train/1"
    assert json.loads((out / "report.json").read_text()) == printed
    model = (out / "model.safetensors").read_bytes()
    assert hashlib.sha256(model).hexdigest() == printed["model"]
    tensors = load_file(out / "model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"layer00.bias": (2,), "layer00.weight": (30, 2)}
    assert sum(tensor.size for tensor in tensors.values()) == printed["d"]
    records = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert [record["round"] for record in records] == [0, 1, 2, 3]
    assert records[-1]["digest"] == printed["journal_head"]
    assert records[-1]["next_model"] == printed["model"]
    assert {record["recipe"] for record in records} == {recipes.read(recipe).federation_digest()}
    assert [point["round"] for point in printed["curve"]] == [0, 1, 2, 3]
    assert printed["accuracy"] > 0.9
    assert all(client["rounds_accepted"] + client["rounds_left_out"] == 3 for client in printed["clients"])
    assert {path.name for path in out.iterdir()} >= {"manifest.json", "recipe.toml", "report.html", "models"}
    assert not list(out.rglob("*.tmp"))


def test_train_does_not_overwrite_a_run_and_resumes_only_what_is_there(ringfort, recipe):
    assert "holds no run to resume" in refused(ringfort("train", recipe, "--resume"), "RF107", 2)
    assert ringfort("train", recipe, "-q").exit_code == 0
    assert "holds a run already" in refused(ringfort("train", recipe), "RF107", 2)


def test_train_goes_on_with_more_rounds_and_gets_what_one_run_gets(ringfort, recipe, tmp_path):
    short = ringfort("train", recipe, "-q", "--out", tmp_path / "a", "--set", "train.rounds=2")
    assert short.exit_code == 0
    longer = ringfort("train", recipe, "--resume", "--json", "--out", tmp_path / "a")
    whole = ringfort("train", recipe, "--json", "--out", tmp_path / "b", "--set", "train.workers=2")
    assert json.loads(longer.stdout)["model"] == json.loads(whole.stdout)["model"]
    assert json.loads(longer.stdout)["curve"] == json.loads(whole.stdout)["curve"]
    assert tomllib.loads((tmp_path / "a" / "recipe.toml").read_text())["train"]["rounds"] == 3


def test_train_resumes_no_other_recipe_and_leaves_that_runs_files_alone(ringfort, recipe, tmp_path):
    ringfort("train", recipe, "-q", "--out", tmp_path / "a")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()}
    line = refused(ringfort("train", recipe, "--resume", "--out", tmp_path / "a", "--set", "seed=2"), "RF103", 2)
    assert "another recipe" in line
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()} == before


def test_after_a_refusal_the_corrected_recipe_runs_in_the_same_folder(ringfort, recipe):
    refused(ringfort("train", recipe, "--set", "defence.f=5"), "RF301", 3)
    assert ringfort("train", recipe, "-q").exit_code == 0


def test_a_damaged_journal_is_refused_with_exit_code_3(ringfort, recipe, tmp_path):
    ringfort("train", recipe, "-q", "--out", tmp_path / "a")
    journal = tmp_path / "a" / "rounds.jsonl"
    journal.write_text(journal.read_text().replace('"round":1', '"round":2'))
    refused(ringfort("train", recipe, "--resume", "--out", tmp_path / "a"), "RF701", 3)


# --- the wrapper


def test_ctrl_c_is_exit_code_3_with_rf603(ringfort, recipe, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "read", interrupted)
    assert "--resume" in refused(ringfort("drill", recipe), "RF603", 3)


def test_errors_that_are_not_ours_are_not_hidden():
    @reported
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()


def test_exit_codes_asked_for_pass_through():
    @reported
    def leaving(code):
        raise typer.Exit(code)

    @reported
    def refusing():
        raise InvalidValue("no")

    with pytest.raises(typer.Exit) as left:
        leaving(1)
    assert left.value.exit_code == 1
    with pytest.raises(typer.Exit) as refused_:
        refusing()
    assert refused_.value.exit_code == 2


def test_a_drill_never_overwrites_a_training_run(ringfort, recipe):
    assert ringfort("train", recipe, "--out", "here", "-q").exit_code == 0
    refused(ringfort("drill", recipe, "--out", "here", "-q"), "RF107", 2)
