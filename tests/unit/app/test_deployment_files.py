"""What an operator installs: the units, and what `ringfort site` writes."""

import configparser
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ringfort.app.main import app
from ringfort.identity.keyfiles import new_signing_key

ROOT = Path(__file__).parents[3]
UNITS = sorted((ROOT / "deploy").glob("*.service"))
RECIPE = ROOT / "recipes" / "fashion.toml"


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_valid_limited_and_locked_down(unit):
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str
    read.read_string(unit.read_text())
    service = read["Service"]
    for key, value in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "KillMode": "control-group",
        "UMask": "0077",
        "CapabilityBoundingSet": "",
    }.items():
        assert service[key] == value
    assert service["User"] not in ("", "root")
    assert service["MemoryMax"]
    if shutil.which("systemd-analyze") is None:
        return
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []


def test_there_are_units_for_both():
    assert [unit.name for unit in UNITS] == ["ringfort-server.service", "ringfort-site.service"]


@pytest.fixture
def kit(tmp_path):
    local = tmp_path / "kit" / "local"
    local.mkdir(parents=True)
    default = {
        "class_allow_list": ["nvflare.app_common.x.Y"],
        "allow_log_streaming": True,
        "components": [
            {"id": "site_log_streamer", "path": "p"},
            {"id": "job_manager", "path": "p", "args": {"uri_root": "shared"}},
        ],
    }
    (local / "resources.json.default").write_text(json.dumps(default))
    return tmp_path / "kit"


def prepare(kit, *more):
    words = ["--recipe", str(RECIPE), "--as", "client-00", "--home", "home", "--grants", "grants", "--folder", "state"]
    return CliRunner().invoke(app, ["site", "prepare", str(kit), *words, *more])


def test_a_prepared_kit_takes_no_code_and_agrees_to_one_recipe(kit):
    from ringfort.app import recipe as recipes

    assert prepare(kit, "--make", "own.package:node").exit_code == 0
    resources = json.loads((kit / "local" / "resources.json").read_text())
    assert resources["class_list_enforcement_mode"] == "enforce"
    assert all(name.startswith(("ringfort.", "nvflare.collab.")) for name in resources["class_allow_list"])
    assert resources["allow_log_streaming"] is False
    assert [part["id"] for part in resources["components"]] == ["job_manager"]
    assert resources["components"][0]["args"]["uri_root"] == str(kit / "store" / "jobs")
    permissions = json.loads((kit / "local" / "authorization.json").read_text())["permissions"]
    assert {rights["byoc"] for rights in permissions.values()} == {"none"}
    profile = json.loads((kit / "local" / "ringfort.json").read_text())
    assert profile["recipe"] == recipes.read(RECIPE).federation_digest()
    assert profile["make"] == "own.package:node"
    assert profile["arguments"]["party"] == "client-00"


def test_what_cannot_be_prepared(kit, tmp_path):
    assert prepare(tmp_path / "none").exit_code == 2
    assert "RF101" in prepare(kit, "--role", "servr").stderr
    assert "RF104" in prepare(kit, "--role", "server").stderr
    assert "RF104" in prepare(kit, "--registry", "registry.jsonl").stderr
    assert not (kit / "local" / "ringfort.json").exists()


def test_a_job_names_its_sites_and_the_recipe(tmp_path):
    from ringfort.app import recipe as recipes

    words = ["site", "job", str(RECIPE), "--site", "b", "--site", "a", "--out", str(tmp_path / "job")]
    assert CliRunner().invoke(app, words).exit_code == 0
    server = json.loads((tmp_path / "job" / "at_server" / "config" / "config_fed_server.json").read_text())
    assert server["components"][0]["args"]["recipe"] == recipes.read(RECIPE).federation_digest()
    assert not list((tmp_path / "job").rglob("*.py"))


def test_doctor_exits_by_what_it_finds(tmp_path):
    (tmp_path / "start.sh").write_text("flower-superlink --insecure\n")
    done = CliRunner().invoke(app, ["doctor", str(tmp_path), "--json"])
    assert done.exit_code == 3
    assert {"node admission", "runtime installs"} <= {each["check"] for each in json.loads(done.stdout)["findings"]}
    assert CliRunner().invoke(app, ["doctor", str(tmp_path / "none")]).exit_code == 2
    (tmp_path / "start.sh").write_text("# flower-supernode\n[tool.flwr]\n")
    assert CliRunner().invoke(app, ["doctor", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["doctor", str(tmp_path), "--fail-on", "medium"]).exit_code == 1


def test_the_logs_key_is_the_servers_to_know(server_kit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "logged.toml"
    recipe.write_text(RECIPE.read_text() + '\n[log]\nkey = "log.key"\nto = ["outside.jsonl"]\n')
    server = ("--recipe", str(recipe), "--as", "coordinator", "--role", "server", "--registry", "registry.jsonl")
    missing = prepare(server_kit, *server)
    assert (missing.exit_code, "log.key" in missing.stderr) == (2, True)
    assert not (server_kit / "local" / "ringfort.json").exists()
    new_signing_key(tmp_path / "log.key")
    assert prepare(server_kit, *server).exit_code == 0
    said = json.loads((server_kit / "local" / "ringfort.json").read_text())["arguments"]
    assert said["log"] == {"key": str(tmp_path / "log.key"), "to": [str(tmp_path / "outside.jsonl")]}
    assert prepare(server_kit, "--recipe", str(recipe)).exit_code == 0
    assert "log" not in json.loads((server_kit / "local" / "ringfort.json").read_text())["arguments"]


@pytest.fixture
def server_kit(kit):
    (kit / "startup").mkdir()
    server = {"name": "federation", "service": {"target": "coordinator.example:8002", "scheme": "http"}}
    said = {"format_version": 2, "servers": [{**server, "admin_server": "coordinator.example", "admin_port": 8003}]}
    (kit / "startup" / "fed_server.json").write_text(json.dumps(said))
    return kit


def prepare_party(kit, folder, *more):
    words = ["--recipe", RECIPE, "--home", folder, "--grants", folder, "--folder", folder / "run", *more]
    return CliRunner().invoke(app, ["site", "prepare", *map(str, (kit, *words))])


@pytest.mark.parametrize(
    ("more", "target"), [((), "coordinator.example:8002"), (("--behind-proxy",), "127.0.0.1:8002")]
)
def test_a_prepared_server_hears_its_operator_on_loopback_alone(server_kit, tmp_path, more, target):
    own = ("--role", "server", "--as", "coordinator", "--registry", tmp_path / "registry.jsonl", *more)
    done = prepare_party(server_kit, tmp_path, *own)
    assert done.exit_code == 0, done.output
    (server,) = json.loads((server_kit / "startup" / "fed_server.json").read_text())["servers"]
    assert (server["admin_host"], server["admin_port"]) == ("127.0.0.1", 8003)
    assert server["service"] == {"target": target, "scheme": "http"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--as", "client-00", "--behind-proxy"), "sites listen to nobody"),
        (("--as", "client-00", "--holdout", "x.npz"), "its own data and no other"),
        (("--as", "aggregator-2", "--role", "helper", "--rows", "x.npz"), "its own data and no other"),
        (("--as", "client-00", "--rows", "x.npz"), 'data.split.by = "party"'),
    ],
)
def test_what_is_not_a_sites_own_is_refused_before_anything_is_written(kit, tmp_path, more, said):
    done = prepare_party(kit, tmp_path, *more)
    assert done.exit_code == 2
    assert said in done.output
    assert not (kit / "local" / "resources.json").exists()


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed")
def test_the_proxy_takes_its_configuration():
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    words = [haproxy, "-c", "-f", str(ROOT / "deploy" / "haproxy.cfg")]
    done = subprocess.run(words, env={"RINGFORT_ADDRESS": "127.0.0.1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
