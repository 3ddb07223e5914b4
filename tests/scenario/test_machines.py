"""docs/deployment.md, followed to the letter on machines with addresses of their own. Slow: two to three minutes.

Certificates by NVFlare's distributed provisioning, enrolment by invitation, each site with its own rows, the commands
of the systemd units, HAProxy in front of the server, and an operator who keeps the run going when a site dies.
"""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from tests.scenario.machines import HOST, ROOT, Machines, able

pytest.importorskip("nvflare")
pytest.importorskip("sklearn")

from ringfort import data
from ringfort.rounds.journal import read_records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(why := able()), reason=why),
]

SITES = ("hospital-1", "hospital-2", "hospital-3")
ROUNDS = 40
RECIPE = f"""
title = "Three hospitals"
seed = 1
[data]
name = "biopsies"
[data.split]
by = "party"
clients = ["hospital-1", "hospital-2", "hospital-3"]
rows = "{{client}}.npz"
holdout = "holdout.npz"
classes = ["malignant", "benign"]
input_shape = [30]
[model]
name = "numpy-logistic"
[train]
rounds = {ROUNDS}
steps = 20
batch = 16
learning_rate = 0.1
deadline_s = 60.0
evaluate_on = 113
[gate]
max_norm = 100.0
max_examples = 1000
[defence]
f = 0
rule = "median"
"""
PROJECT = f"""
api_version: 3
name: federation
scheme: http
connection_security: mtls
server: {{host: {HOST}, fed_learn_port: 8002, admin_port: 8003}}
"""


class Authority:
    """An offline machine: it has no address, and files are carried to it and from it."""

    def __init__(self, folder, machines):
        self.folder = folder
        self.machines = machines
        (folder / "grants").mkdir(parents=True)
        (folder / "project.yml").write_text(PROJECT)
        self.run("nvflare", "cert", "init", "--profile", "project.yml", "-o", "ca", "--valid-days", "90")
        said = self.run("openssl", "x509", "-in", "ca/rootCA.pem", "-noout", "-fingerprint", "-sha256")
        self.fingerprint = f"SHA256:{said.strip().partition('=')[2]}"
        self.run(
            *("ringfort", "identity", "init", "authority", "--federation", "wards", "--host", HOST),
            *("--root-days", 90, "--member-hours", 24, "--burst", 5, "--every-hours", 1, "--cool-down-hours", 0),
        )

    def run(self, *words):
        done = subprocess.run(
            [*map(str, words)],
            cwd=self.folder,
            env={**self.machines.environment("server"), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def certify(self, machine, name, entry):
        """A startup kit whose keys were made on the machine."""
        folder = self.machines.folder / machine
        (folder / f"{name}.yml").write_text(f"name: federation\nparticipants:\n  - {entry}\n")
        self.machines.run(machine, "nvflare", "cert", "request", "-p", f"{name}.yml", "--out", name)
        shutil.copy(folder / name / f"{name}.request.zip", self.folder)
        words = ("-c", "ca", "--profile", "project.yml", "--valid-days", "14")
        self.run("nvflare", "cert", "approve", f"{name}.request.zip", *words)
        shutil.copy(self.folder / f"{name}.signed.zip", folder)
        words = ("--request-dir", name, "--fingerprint", self.fingerprint, "-w", "kits")
        self.machines.run(machine, "nvflare", "package", f"{name}.signed.zip", *words)
        return folder / "kits" / "federation" / "prod_00" / name

    def enrol(self, machine, name, *more):
        """An identity whose keys were made on the machine."""
        folder = self.machines.folder / machine
        limits = ("--max-clients", 1, "--max-examples", 1000, "--hours", 1)
        words = ("--at", "authority", "--organisation", name, *limits, "--letter", f"{name}.letter", *more)
        self.run("ringfort", "identity", "invite", name, *words)
        shutil.move(self.folder / f"{name}.letter", folder)
        home = ("ringfort", "identity", "enrol", "--home", "identity")
        self.machines.run(machine, *home, "--letter", f"{name}.letter")
        shutil.copy(folder / "identity" / "request.json", self.folder / f"{name}.request.json")
        grant = self.folder / "grants" / f"{name}.json"
        words = ("--at", "authority", "--request", f"{name}.request.json", "--out", grant)
        self.run("ringfort", "identity", "enrol", *words)
        shutil.copy(grant, folder / "grant.json")
        self.machines.run(machine, *home, "--grant", "grant.json")


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    with Machines(tmp_path_factory.mktemp("machines"), SITES) as made:
        yield made


@pytest.fixture(scope="module")
def kits(machines):
    """Every machine prepared as the document says; where the kits are."""
    authority = Authority(machines.folder / "offline", machines)
    entries = {site: f"{{name: {site}, type: client, org: {site.replace('-', '_')}}}" for site in SITES}
    made = {site: authority.certify(site, site, entry) for site, entry in entries.items()}
    ports = "fed_learn_port: 8002, admin_port: 8003"
    made["server"] = authority.certify("server", HOST, f"{{name: {HOST}, type: server, org: coordinator, {ports}}}")
    operator = f"operator@{HOST}"
    entry = f"{{name: {operator}, type: admin, org: coordinator, role: lead}}"
    made["operator"] = authority.certify("server", operator, entry)
    authority.enrol("server", "coordinator", "--server", "--host", HOST)
    for site in SITES:
        authority.enrol(site, site)
    split = data.load("breast-cancer")
    for number, machine in enumerate(("server", *SITES)):
        folder = machines.folder / machine
        (folder / "recipe.toml").write_text(RECIPE)
        shutil.copytree(authority.folder / "grants", folder / "grants")
        rows = split.test if machine == "server" else split.train.take(np.arange(number - 1, len(split.train), 3))
        np.savez(folder / "mine.npz", inputs=rows.inputs, labels=rows.labels)
    shared = ("--recipe", "recipe.toml", "--home", "identity", "--grants", "grants")
    for site in SITES:
        own = ("--as", site, "--folder", "state", "--rows", "mine.npz")
        machines.run(site, "ringfort", "site", "prepare", made[site], *shared, *own)
    shutil.copy(authority.folder / "authority" / "registry.jsonl", machines.folder / "server")
    own = ("--as", "coordinator", "--folder", "run", "--role", "server", "--registry", "registry.jsonl")
    more = ("--holdout", "mine.npz", "--behind-proxy")
    machines.run("server", "ringfort", "site", "prepare", made["server"], *shared, *own, *more)
    return made


@pytest.fixture(scope="module")
def running(machines, kits):
    """The units' commands and the proxy, started."""
    machines.unit("server", kits["server"], "ringfort-server.service")
    machines.start("server", "haproxy", "-f", ROOT / "deploy" / "haproxy.cfg", RINGFORT_ADDRESS="10.77.0.1")
    for site in SITES:
        machines.unit(site, kits[site], "ringfort-site.service")
    return kits


def operate(kits, *more):
    words = ("--kit", kits["operator"], "--server", kits["server"], "--json", *more)
    sites = [word for site in SITES for word in ("--site", site)]
    return ["ringfort", "site", "operate", "recipe.toml", *map(str, words), *sites]


def test_a_federation_of_machines_survives_a_site_and_reports(machines, running):
    keep = 'exec "$@" > out.json 2> err.txt'
    process = machines.start("server", "bash", "-c", keep, "-", *operate(running))
    run, errors = machines.folder / "server" / "run", machines.folder / "server" / "err.txt"
    until = time.monotonic() + 600
    while not (run / "rounds.jsonl").exists() or (run / "rounds.jsonl").read_bytes().count(b"\n") < 6:
        assert process.poll() is None, errors.read_text()
        assert time.monotonic() < until, errors.read_text()
        time.sleep(0.02)
    job = json.loads((running["hospital-2"] / "local" / "process.json").read_bytes())["pid"]
    os.kill(job, signal.SIGKILL)
    code = process.wait(600)
    assert code == 0, errors.read_text()
    report = json.loads((machines.folder / "server" / "out.json").read_text())
    assert report["accuracy"] > 0.9
    records = read_records(run)[0]
    assert [record.round for record in records] == list(range(ROUNDS + 1))
    assert records[1].cohort == SITES
    assert records[-1].cohort == ("hospital-1", "hospital-3")
    assert any("Left out since: hospital-2" in line for line in report["not_covered"])
    for name in ("model.safetensors", "report.html", "model-card.md"):
        assert (run / name).stat().st_size > 0


def test_rows_and_keys_stay_where_they_are(machines, running):
    """After the run: nobody else has a site's rows, its keys, or the authority's."""
    for site in SITES:
        rows = (machines.folder / site / "mine.npz").read_bytes()
        secrets = [path for path in (machines.folder / site).rglob("*") if path.suffix in (".key", ".pem")]
        keys = {path.read_bytes() for path in secrets if b"PRIVATE KEY" in path.read_bytes()}
        assert len(keys) >= 3
        for other in {"server", "offline", *SITES} - {site}:
            for path in (machines.folder / other).rglob("*"):
                if path.is_file():
                    found = path.read_bytes()
                    assert found != rows
                    assert found not in keys


def test_the_operators_port_is_reached_from_the_servers_machine_alone(machines, running):
    ask = "exec 3<>/dev/tcp/{0}/{1} && echo open"
    assert machines.run("server", "bash", "-c", ask.format(HOST, 8003), check=False).stdout == "open\n"
    assert machines.run("hospital-1", "bash", "-c", ask.format(HOST, 8002), check=False).stdout == "open\n"
    assert machines.run("hospital-1", "bash", "-c", ask.format(HOST, 8003), check=False).stdout == ""


def test_the_doctor_finds_nothing_high_on_any_machine(machines, running):
    for machine in ("server", *SITES):
        done = machines.run(machine, "ringfort", "doctor", "kits", "--json", check=False)
        assert done.stdout, done.stderr
        high = [found for found in json.loads(done.stdout)["findings"] if found["severity"] in ("high", "critical")]
        assert (done.returncode, high) == (0, [])


def test_only_who_shows_a_certificate_gets_a_single_byte(machines, running):
    say = f"(printf 'GET / HTTP/1.1\\r\\n\\r\\n'; sleep 2) | timeout 5 openssl s_client -quiet -connect {HOST}:8002"
    startup = running["hospital-3"] / "startup"
    stranger = machines.run("hospital-3", "bash", "-c", say, check=False)
    member = f"{say} -cert {startup}/client.crt -key {startup}/client.key"
    assert machines.run("hospital-3", "bash", "-c", member, check=False).stdout.startswith("HTTP/1.")
    assert stranger.stdout == ""
