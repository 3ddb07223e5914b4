"""Every check fires on the fault it is for, and is silent without it."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from ringfort.audit.doctor import Severity, examine
from ringfort.audit.doctor import ports as ports_module
from ringfort.audit.doctor.ports import answers_stranger, listeners
from ringfort.core.errors import DataUnavailable

SHARED = "/tmp"  # noqa: S108 - a name to look for
EVERYWHERE = "0.0.0.0"  # noqa: S104 - for an empty listener
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def certificate(name, begins, ends):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem), private


GOOD_RECIPE = 'title="t"\n[train]\ndeadline_s=5.0\n[defence]\nf=1\n[seal]\nname="shared"\n'


@pytest.fixture
def kit(tmp_path):
    """A server's kit in which nothing is wrong."""
    folder = tmp_path / "deployment" / "server"
    (folder / "startup").mkdir(parents=True)
    (folder / "local").mkdir()
    server = {
        "service": {"target": "localhost:1"},
        "admin_port": 2,
        "connection_security": "mtls",
    }
    (folder / "startup" / "fed_server.json").write_text(json.dumps({"servers": [server]}))
    pem, key = certificate("server", NOW - timedelta(days=1), NOW + timedelta(days=9))
    (folder / "startup" / "server.crt").write_bytes(pem)
    (folder / "startup" / "server.key").write_bytes(key)
    (folder / "startup" / "server.key").chmod(0o600)
    resources = {
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": ["ringfort.engine.nvflare.site.ClientSite"],
        "components": [{"id": "job_manager", "args": {"uri_root": str(folder / "store")}}],
    }
    (folder / "local" / "resources.json").write_text(json.dumps(resources))
    rights = {"permissions": {"project_admin": {"byoc": "none"}}}
    (folder / "local" / "authorization.json").write_text(json.dumps(rights))
    (tmp_path / "deployment" / "recipe.toml").write_text(GOOD_RECIPE)
    profile = {"arguments": {"recipe": str(tmp_path / "deployment" / "recipe.toml")}}
    (folder / "local" / "ringfort.json").write_text(json.dumps(profile))
    return folder


def found(folder, now=NOW):
    return [(f.check, f.severity.value) for f in examine(folder, now) if f.check != "port"]


def change(path, **values):
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, **values}))


def test_a_good_kit_has_no_findings_but_that_nobody_listens(kit, tmp_path):
    assert found(tmp_path) == []
    assert {f.severity for f in examine(tmp_path, NOW)} == {Severity.INFO}


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, []), (0o400, []), (0o640, [("key file", "high")]), (0o604, [("key file", "high")])]
)
def test_key_files_that_others_can_read(kit, tmp_path, mode, expected):
    (kit / "startup" / "server.key").chmod(mode)
    assert found(tmp_path) == expected


def test_a_folder_in_which_others_can_replace_a_key(kit, tmp_path):
    (kit / "startup").chmod(0o777)
    assert found(tmp_path) == [("key folder", "high")]


@pytest.mark.parametrize(
    ("days_old", "days_left", "expected"),
    [
        (1, 9, []),
        (10, -1, [("certificate", "high")]),
        (95, 5, [("certificate", "medium")]),
        (1, 359, [("certificate", "medium")]),
    ],
)
def test_certificates_days(kit, tmp_path, days_old, days_left, expected):
    pem, _ = certificate("server", NOW - timedelta(days=days_old), NOW + timedelta(days=days_left))
    (kit / "startup" / "server.crt").write_bytes(pem)
    assert found(tmp_path) == expected


def test_a_certificate_that_is_none(kit, tmp_path):
    (kit / "startup" / "server.crt").write_bytes(b"nothing")
    assert found(tmp_path) == [("certificate", "high")]


def test_the_authoritys_key_beside_its_members(kit, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "cert.json").write_text("{}")
    assert found(tmp_path) == [("authority's key", "high")]


@pytest.mark.parametrize(
    "permissions",
    [{"project_admin": "any"}, {"project_admin": {"byoc": "none"}, "lead": {"byoc": "any"}}, {}],
)
def test_jobs_that_may_bring_code(kit, tmp_path, permissions):
    change(kit / "local" / "authorization.json", permissions=permissions)
    assert found(tmp_path) == [("code in jobs", "high")]


def test_without_a_policy_the_default_is_in_force(kit, tmp_path):
    (kit / "local" / "authorization.json").rename(kit / "local" / "authorization.json.default")
    assert found(tmp_path) == []
    change(kit / "local" / "authorization.json.default", permissions={"lead": {"byoc": "any"}})
    assert found(tmp_path) == [("code in jobs", "high")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"class_list_enforcement_mode": "warn"}, ("classes", "high")),
        ({"class_allow_list": ["*"]}, ("classes", "high")),
        ({"class_allow_list": ["nvflare.app_common."]}, ("classes", "info")),
        ({"snapshot_persistor": {"root_dir": f"{SHARED}/nvflare/snapshots"}}, ("job store", "medium")),
        ({"components": [{"id": "site_log_streamer"}]}, ("logs", "info")),
    ],
)
def test_what_resources_may_not_say(kit, tmp_path, monkeypatch, values, expected):
    monkeypatch.setattr("tempfile.tempdir", SHARED)
    change(kit / "local" / "resources.json", **values)
    assert found(tmp_path) == [expected]


def test_a_connection_that_is_not_mutual_tls(kit, tmp_path):
    change(kit / "startup" / "fed_server.json", servers=[{"connection_security": "tls"}])
    assert found(tmp_path) == [("transport", "high")]


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (GOOD_RECIPE.replace('[seal]\nname="shared"\n', ""), [("seal", "medium")]),
        (GOOD_RECIPE.replace("f=1", "f=0"), [("defence", "medium")]),
        (GOOD_RECIPE.replace("deadline_s=5.0", ""), [("deadline", "info")]),
        (GOOD_RECIPE.replace('"shared"', '"masked"\ncorrupt_fraction=0.0'), [("seal", "medium")]),
        (GOOD_RECIPE.replace('"shared"', '"masked"\ncorrupt_fraction=0.1'), []),
    ],
)
def test_what_a_recipe_leaves_open(kit, tmp_path, recipe, expected):
    (tmp_path / "deployment" / "recipe.toml").write_text(recipe)
    assert found(tmp_path) == expected


def test_enrolments_that_ended_and_a_registry_that_stopped(kit, tmp_path):
    grants = tmp_path / "deployment" / "grants"
    grants.mkdir()
    for name, hours in (("ada", 1), ("bob", -1)):
        said = {"enrolment": {"expires": (NOW + timedelta(hours=hours)).isoformat()}}
        (grants / f"{name}.json").write_text(json.dumps(said))
    registry = tmp_path / "deployment" / "registry.jsonl"
    registry.write_text(json.dumps({"body": {"policy": {"cool_down_s": 60}}}) + "\n")
    os.utime(registry, (NOW.timestamp(), NOW.timestamp() - 60))
    assert found(tmp_path) == [("enrolment", "medium")]
    os.utime(registry, (NOW.timestamp(), NOW.timestamp() - 2 * 86400))
    assert found(tmp_path) == [("enrolment", "medium"), ("deny list", "medium")]
    registry.write_text(json.dumps({"body": {"policy": {"cool_down_s": 0}}}) + "\n")
    os.utime(registry, (NOW.timestamp(), NOW.timestamp()))
    assert ("newcomers", "info") in found(tmp_path)


def listening(serve, host="127.0.0.1"):
    """A server that gives each connection to `serve`."""
    listener = socket.create_server((host, 0))

    def loop():
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            try:
                with link:
                    serve(link)
            except OSError:
                pass

    threading.Thread(target=loop, daemon=True).start()
    return listener


def in_clear(link):
    link.recv(64)
    link.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def closes(link):
    link.recv(64)


def over_tls(tmp_path, mutual):
    pem, key = certificate("localhost", datetime.now(UTC) - timedelta(1), datetime.now(UTC) + timedelta(1))
    (tmp_path / "c.pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem")
    if mutual:
        context.load_verify_locations(tmp_path / "c.pem")
        context.verify_mode = ssl.CERT_REQUIRED

    def serve(link):
        with context.wrap_socket(link, server_side=True) as wrapped:
            wrapped.recv(64)
            wrapped.sendall(b"welcome")

    return serve


@pytest.mark.parametrize(
    ("kind", "expected"), [("clear", "in clear"), ("closes", ""), ("tls", "over TLS"), ("mutual", "")]
)
def test_a_stranger_is_served_or_turned_away(tmp_path, kind, expected):
    tls = kind in ("tls", "mutual")
    serve = over_tls(tmp_path, kind == "mutual") if tls else {"clear": in_clear, "closes": closes}[kind]
    with listening(serve) as listener:
        assert answers_stranger("127.0.0.1", listener.getsockname()[1]) == expected


def test_ports_are_asked_and_the_operators_must_be_on_loopback(kit, tmp_path, monkeypatch):
    with listening(in_clear) as clients, listening(closes, EVERYWHERE) as operator:
        ports = [each.getsockname()[1] for each in (clients, operator)]
        assert listeners(ports[0]) == {"127.0.0.1"}
        assert listeners(ports[1]) == {EVERYWHERE}
        server = {"service": {"target": f"localhost:{ports[0]}"}, "admin_port": ports[1], "connection_security": "mtls"}
        change(kit / "startup" / "fed_server.json", servers=[server])
        assert sorted(found(tmp_path)) == [("operator's port", "high"), ("stranger served", "high")]


def test_a_dashboard_that_runs(kit, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "nvflare.dashboard"])
    try:
        time.sleep(0.3)
        assert found(tmp_path) == [("dashboard", "high")]
    finally:
        process.kill()
        process.wait()
    assert found(tmp_path) == []
    assert ports_module.listeners(1) == set()


SAFE_SERVER = (
    "flower-superlink --host 127.0.0.1 --enable-supernode-auth --disable-runtime-dependency-installation \\\n"
    "  --ssl-certfile c.pem\n"
)
SAFE_NODE = "flower-supernode --superlink s:9092 --auth-supernode-private-key k.pem\n"
SAFE = "export FLWR_TELEMETRY_ENABLED=0\n" + SAFE_SERVER + SAFE_NODE


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", []),
        ("export FLWR_TELEMETRY_ENABLED=0\n", "", [("telemetry", "medium")]),
        ("--enable-supernode-auth ", "", [("node admission", "high")]),
        ("--disable-runtime-dependency-installation ", "", [("runtime installs", "high")]),
        ("--host 127.0.0.1", "--host 0.0.0.0", [("control port", "high")]),
        ("--host 127.0.0.1 ", "", [("control port", "high")]),
        ("--ssl-certfile c.pem", "--insecure", [("transport", "high")]),
        (" --auth-supernode-private-key k.pem", "", [("node key", "high")]),
        ("k.pem\n", "k.pem --allow-runtime-dependency-installation\n", [("runtime installs", "high")]),
    ],
)
def test_what_flower_commands_leave_open(tmp_path, before, after, expected):
    (tmp_path / "start.sh").write_text(SAFE.replace(before, after) if before else SAFE)
    assert found(tmp_path) == expected


def test_flower_in_other_files(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["flwr>=1.40"]\n[tool.flwr.federations.x]\ninsecure = true\n'
    )
    (tmp_path / "compose.yml").write_text(
        "services:\n  link:\n    command:\n      - flower-superlink\n      - --enable-supernode-auth\n"
        "      - --disable-runtime-dependency-installation\n      - --host=10.0.0.1\n    environment:\n"
        '      FLWR_TELEMETRY_ENABLED: "0"\n'
    )
    (tmp_path / "README.md").write_text("Start `flower-superlink --insecure` to try it.\n")
    assert sorted(found(tmp_path)) == [("transport", "high"), ("version", "medium")]


def test_a_folder_with_neither(tmp_path):
    (tmp_path / "x.toml").write_text("")
    with pytest.raises(DataUnavailable):
        examine(tmp_path, NOW)
    with pytest.raises(DataUnavailable):
        examine(tmp_path / "none", NOW)
