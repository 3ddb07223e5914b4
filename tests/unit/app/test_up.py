"""What `ringfort up` gives each site and what sites make of it, without processes: the log's key, members' keys."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

pytest.importorskip("nvflare")

from ringfort.app import build, sites
from ringfort.app import recipe as recipes
from ringfort.app.commands.up import _said
from ringfort.app.deploy import deploy
from ringfort.app.main import app
from ringfort.app.members import Members
from ringfort.client.node import client_names
from ringfort.core.errors import Incompatible, InvalidValue, RingfortError, UnknownClient
from ringfort.engine.in_process import answer
from ringfort.engine.nvflare.job import write_job
from ringfort.engine.nvflare.provision import Kits, provision
from ringfort.engine.packed import pack
from ringfort.identity import Quota, Role, Subject
from ringfort.identity.keyfiles import new_signing_key, write_secret
from ringfort.rounds.checkpoint import read_checkpoints
from ringfort.rounds.journal import read_records
from ringfort.rounds.log import verify
from ringfort.testing import enrol

NAMES = client_names(4)
SERVERS = ("coordinator", "aggregator-2", "aggregator-3")
RECIPE = """
title = "Breast cancer, 4 clients"
seed = 1
data = { name = "breast-cancer", split = { by = "iid", clients = 4 } }
model = "numpy-logistic"
gate = { max_norm = 1e4, max_examples = 1000 }
defence = { f = 0, rule = "mean" }
train = { rounds = 4, steps = 2, batch = 8, learning_rate = 0.2 }
"""
SHARED = '[seal]\nname = "shared"\nclip = 4.0\nbits = 15\nmin_cohort = 3\nmax_weight = 0.5\n'
MASKED = (
    '[seal]\nname = "masked"\nclip = 1.0\nbits = 12\nmin_cohort = 3\ncorrupt_fraction = 0.0\ndropout_fraction = 0.25\n'
)


@pytest.fixture(autouse=True)
def kits(monkeypatch):
    """Kits without TLS: what is tested here is what stands in them."""

    def made(folder, names):
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("server", *names):
            (folder / name / "local").mkdir(parents=True)
        return Kits(folder / "server", {name: folder / name for name in names}, folder / "admin", 1, 2)

    monkeypatch.setattr("ringfort.app.deploy.provision", made)


class Up:
    """A deployment's profiles, and its sites as objects of this process."""

    def __init__(self, folder, more="", helpers=()):
        self.run, path = folder / "run", folder / "recipe.toml"
        self.run.mkdir(exist_ok=True)
        path.write_text(RECIPE + more)
        self.recipe = recipes.read(path)
        self.digest = self.recipe.federation_digest()
        self.members = Members.of(self.run, self.recipe)
        self.members.require(NAMES, helpers)
        self.kits = deploy(self.run, self.recipe, self.members, NAMES, helpers, self.digest)
        self.helpers = helpers
        self.asked = []

    def profile(self, kit):
        said = json.loads((kit / "local" / "ringfort.json").read_bytes())
        assert said["recipe"] == self.digest
        return said["arguments"]

    def node(self, name):
        """As `ClientSite` has it: what cannot be made fails at every call."""
        try:
            return (sites.helper if name in self.helpers else sites.client)(self.profile(self.kits.clients[name]))
        except RingfortError as error:
            return SimpleNamespace(handle=Mock(side_effect=error))

    def job(self, before=lambda number: None):
        """One job; `before` is told the number of each call. Gives what the server said at its end."""
        nodes = {name: self.node(name) for name in self.kits.clients}
        ended = []

        def call(name):
            def ask(stage, payload, timeout_s):
                self.asked.append(name)
                ended.append(before(len(self.asked)))
                return pack(answer(name, nodes[name].handle, stage, payload))

            return ask

        job = SimpleNamespace(run="job-1", calls={name: call(name) for name in nodes}, aborted=lambda: "end" in ended)
        sites.serve(self.profile(self.kits.server), job)
        return json.loads((self.run / "deployment" / "outcome.json").read_bytes())

    def cohorts(self):
        return [record.cohort for record in read_records(self.run)[0][1:]]


class TestLog:
    @pytest.fixture
    def logged(self, tmp_path):
        new_signing_key(tmp_path / "log.key")
        more = f'[log]\nkey = "{tmp_path}/log.key"\nto = ["{tmp_path}/outside.jsonl"]\n'
        return SimpleNamespace(folder=tmp_path, more=more, key=tmp_path / "log.key")

    def checked(self, logged, run):
        public = build.signing(recipes.read(logged.folder / "recipe.toml"), run, None, ()).key.public
        return verify(run, logged.folder / "outside.jsonl", public)

    def test_the_servers_job_signs_every_round_and_goes_on_after_it_was_ended(self, logged):
        up = Up(logged.folder, logged.more)
        assert up.job(lambda number: "end" if number == 10 else None)["status"] == "aborted"
        before = self.checked(logged, up.run)
        assert before.anchored == before.records == 3
        assert up.job() == {"run": "job-1", "status": "done"}
        after = self.checked(logged, up.run)
        assert (after.anchored, after.records) == (5, 5)
        beside = [checkpoint.size for checkpoint in read_checkpoints(up.run / "checkpoints.jsonl")[0]]
        assert beside == [1, 2, 3, 3, 4, 5], "the last one is signed again when a job begins"

    def test_only_the_servers_own_profile_says_where_the_key_lies(self, logged):
        up = Up(logged.folder, logged.more)
        assert up.profile(up.kits.server)["log"] == {
            "key": str(logged.key),
            "to": [str(logged.folder / "outside.jsonl")],
        }
        write_job(up.run / "job", "job-1", up.digest, NAMES)
        secret = logged.key.read_bytes()
        told = [
            p for p in up.run.rglob("*") if p.is_file() and (b"log.key" in p.read_bytes() or secret in p.read_bytes())
        ]
        assert told == [up.kits.server / "local" / "ringfort.json"]

    def test_paths_are_those_of_whoever_gave_the_command(self, logged, monkeypatch):
        monkeypatch.chdir(logged.folder)
        up = Up(logged.folder, '[log]\nkey = "log.key"\nto = ["outside.jsonl"]\n')
        monkeypatch.chdir(up.kits.server)
        assert up.job()["status"] == "done"
        assert (logged.folder / "outside.jsonl").exists()

    def test_a_profile_without_the_log_of_its_recipe_signs_nothing_and_runs_nothing(self, logged):
        up = Up(logged.folder)
        (up.run / "deployment" / "recipe.toml").write_text(RECIPE + logged.more)
        said = up.job()
        assert (said["status"], said["code"]) == ("failed", "RF103")
        assert "prepare the site again" in said["message"]

    def test_a_log_does_not_stop_being_signed(self, logged):
        up = Up(logged.folder, logged.more)
        up.job(lambda number: "end" if number == 10 else None)
        said = Up(logged.folder).job()
        assert (said["status"], "go on with the log's key" in said["message"]) == ("failed", True)

    @pytest.mark.parametrize(
        ("log", "said"),
        [
            ('key="log.key",to=["-"]', "standard output"),
            ('key="log.key",to=["exec:logger"]', "does not name programs"),
            ('key="none.key",to=["outside.jsonl"]', "cannot read"),
            ('key="open.key",to=["outside.jsonl"]', "others can read"),
            ('key="out/members/log.key",to=["outside.jsonl"]', "keep it outside the run"),
            ('key="log.key",to=["out/deployment/outside.jsonl"]', "keep it outside the run"),
        ],
    )
    def test_what_cannot_be_signed_is_refused_before_anything_starts(self, ringfort, recipe, log, said):
        new_signing_key(Path("log.key"))
        new_signing_key(Path("open.key"))
        Path("open.key").chmod(0o644)
        result = ringfort("up", recipe, "-q", "--out", "out", "--set", f"log={{{log}}}")
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
        assert not Path("out/deployment").exists()
        assert not Path("out/members").exists()


def tree(folder):
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def people(folder, now=None, **given):
    return enrol(folder / "people", NAMES, now or datetime.now(UTC), servers=SERVERS, **given)


def table(known, server="coordinator"):
    return f'[identity]\nregistry = "{known.registry}"\nhomes = "{known.folder / "homes"}"\nserver = "{server}"\n'


def revoke(known, name):
    with known.writer() as registry:
        registry.revoke(name, "left the project", datetime.now(UTC))


class TestIdentity:
    def test_the_organisations_members_sign_and_their_folders_are_only_read(self, tmp_path):
        known = people(tmp_path)
        before = tree(known.folder)
        up = Up(tmp_path, table(known))
        assert up.job()["status"] == "done"
        assert tree(known.folder) == before
        assert not (up.run / "members").exists()
        line = json.loads((up.run / "taken.jsonl").read_bytes().splitlines()[0])
        assert line["said"]["authority"] == known.authority.hex()
        assert {path.name for path in (up.run / "clients").iterdir()} == set(NAMES)
        assert [len(cohort) for cohort in up.cohorts()] == [4, 4, 4, 4]

    def test_a_registry_that_is_renewed_by_another_link_is_followed(self, tmp_path):
        known = people(tmp_path)
        link = tmp_path / "fresh.jsonl"
        shutil.copy(known.registry, tmp_path / "old.jsonl")
        link.symlink_to(tmp_path / "old.jsonl")
        up = Up(tmp_path, table(known).replace(str(known.registry), str(link)))
        revoke(known, "client-02")
        (tmp_path / "new").symlink_to(known.registry)
        (tmp_path / "new").rename(link)
        assert up.job()["status"] == "done"
        assert "client-02" not in up.asked

    def test_a_server_under_another_name(self, tmp_path):
        known = enrol(tmp_path / "people", NAMES, datetime.now(UTC), servers=("north",))
        up = Up(tmp_path, table(known, "north"))
        assert up.job()["status"] == "done"
        assert len(up.cohorts()[-1]) == 4

    def test_whoever_was_revoked_before_is_not_asked_and_the_report_says_so(self, tmp_path):
        known = people(tmp_path)
        revoke(known, "client-02")
        up = Up(tmp_path, table(known))
        assert up.job()["status"] == "done"
        assert "client-02" not in up.asked
        said = _said([], up.members, NAMES, read_records(up.run)[0])
        assert any("client-02 was revoked" in line and "asked in 0 of 4 rounds" in line for line in said)

    def test_revoking_in_the_middle_takes_a_client_out_of_the_next_round(self, tmp_path):
        known = people(tmp_path)

        def before(number):
            if number == 5:  # the first call of round 2, when all four have been asked
                revoke(known, "client-02")

        up = Up(tmp_path, table(known))
        assert up.job(before)["status"] == "done"
        assert [("client-02" in cohort, len(cohort)) for cohort in up.cohorts()] == [
            (True, 4),
            (True, 4),
            (False, 3),
            (False, 3),
        ]
        [refusal] = read_records(up.run)[0][2].refusals
        assert (refusal.client, refusal.reason) == ("client-02", "revoked")
        assert any("2 of 4 rounds" in line for line in _said([], up.members, NAMES, read_records(up.run)[0]))

    def test_a_fixed_cohort_of_everybody_goes_on_with_those_who_are_left(self, tmp_path):
        known = people(tmp_path)
        revoke(known, "client-02")
        up = Up(tmp_path, table(known))
        path = up.run / "deployment" / "recipe.toml"
        path.write_text(path.read_text().replace("[train]\n", "[train]\ncohort = 4\n"))
        assert up.job()["status"] == "done"
        assert [len(cohort) for cohort in up.cohorts()] == [3, 3, 3, 3]

    @pytest.mark.parametrize(("seal", "helpers"), [(SHARED, SERVERS[1:]), (MASKED, ())], ids=["shared", "masked"])
    def test_behind_a_seal_one_whose_enrolment_is_over_costs_the_others_nothing(self, tmp_path, seal, helpers):
        old = datetime.now(UTC) - timedelta(days=2)
        known = people(tmp_path, old, life=timedelta(days=1))  # over for all
        for name in (*NAMES[:2], NAMES[3], *SERVERS):
            again(known, name, server=name in SERVERS)
        up = Up(tmp_path, table(known) + seal, helpers)
        assert up.job() == {"run": "job-1", "status": "done"}
        assert "client-02" not in up.asked
        assert [len(cohort) for cohort in up.cohorts()] == [3, 3, 3, 3]
        said = _said([], up.members, NAMES, read_records(up.run)[0])
        assert any("client-02's enrolment has expired" in line for line in said)

    def test_one_members_damaged_grant_is_its_own_trouble(self, tmp_path):
        known = people(tmp_path)
        (known.folder / "homes" / "client-02" / "grant.json").write_bytes(b"{}")
        up = Up(tmp_path, table(known) + MASKED)
        with pytest.raises(RingfortError):
            sites.client(up.profile(up.kits.clients["client-02"]))
        assert not (up.members.grants / "client-02.json").exists()
        sites.client(up.profile(up.kits.clients["client-01"]))

    def test_new_keys_are_passed_on_before_the_next_job(self, tmp_path):
        known = people(tmp_path)
        up = Up(tmp_path, table(known) + MASKED)
        home, now = known.home("client-01"), datetime.now(UTC)
        with known.writer() as registry:
            home.accept(registry.admit(home.follow(new_keys=True).encode(), now), now)
        up.members.collect(NAMES)
        assert up.job() == {"run": "job-1", "status": "done"}
        assert [len(record.verdicts) for record in read_records(up.run)[0][1:]] == [4, 4, 4, 4]


def again(known, name, *, server):
    """A new invitation for one whose enrolment is over."""
    home, now = known.home(name), datetime.now(UTC)
    letter = known.folder / f"{name}.again"
    organisation = "operator" if server else name
    subject = Subject(name, organisation, Role.SERVER if server else Role.CLIENT, ("127.0.0.1",) if server else ())
    with known.writer() as registry:
        write_secret(letter, registry.invite(subject, Quota(1, 1000), timedelta(hours=1), now).encode())
        home.accept(registry.admit(home.apply(letter).encode(), now), now)


class TestRefused:
    def require(self, folder, more, helpers=()):
        (folder / "recipe.toml").write_text(RECIPE + more)
        Members.of(folder / "run", recipes.read(folder / "recipe.toml")).require(NAMES, helpers)

    def test_a_client_that_was_never_enrolled_is_named(self, tmp_path):
        few = enrol(tmp_path / "few", NAMES[:3], datetime.now(UTC))
        with pytest.raises(Incompatible, match="client-03 has no enrolment"):
            self.require(tmp_path, table(few))

    def test_a_helper_that_was_never_enrolled_is_named(self, tmp_path):
        few = enrol(tmp_path / "few", NAMES, datetime.now(UTC))
        with pytest.raises(Incompatible, match="aggregator-2 and 1 others has no enrolment"):
            self.require(tmp_path, table(few) + SHARED, SERVERS[1:])

    def test_a_server_or_helper_that_may_not_speak(self, tmp_path):
        known = people(tmp_path)
        revoke(known, "aggregator-3")
        self.require(tmp_path, table(known))
        with pytest.raises(UnknownClient, match="aggregator-3 was revoked"):
            self.require(tmp_path, table(known) + SHARED, SERVERS[1:])
        revoke(known, "coordinator")
        with pytest.raises(UnknownClient, match="coordinator was revoked"):
            self.require(tmp_path, table(known))

    def test_a_client_is_no_server(self, tmp_path):
        known = people(tmp_path)
        with pytest.raises(Incompatible, match="client-03 is the server's name"):
            self.require(tmp_path, table(known, "client-03"))
        more = enrol(tmp_path / "more", (*NAMES, "eve"), datetime.now(UTC))
        with pytest.raises(Incompatible, match="eve is enrolled as a client"):
            self.require(tmp_path, table(more, "eve"))

    def test_no_client_has_the_servers_name(self, tmp_path):
        (tmp_path / "recipe.toml").write_text(RECIPE)
        with pytest.raises(Incompatible, match="coordinator is the server's name"):
            Members.of(tmp_path / "run", recipes.read(tmp_path / "recipe.toml")).require(("ada", "coordinator"), ())

    def test_a_seals_server_is_the_coordinator(self, tmp_path):
        known = enrol(tmp_path / "people", NAMES, datetime.now(UTC), servers=("north",))
        with pytest.raises(Incompatible, match="enrol it under that name"):
            self.require(tmp_path, table(known, "north") + MASKED)

    def test_members_that_up_would_replace(self, tmp_path):
        known = enrol(tmp_path / "run" / "members", NAMES, datetime.now(UTC))
        with pytest.raises(Incompatible, match="keep it outside the run"):
            self.require(tmp_path, table(known))

    def test_the_command_says_it_before_anything_starts(self, tmp_path, ringfort):
        few = enrol(tmp_path / "few", NAMES[:3], datetime.now(UTC))
        (tmp_path / "r.toml").write_text(RECIPE + table(few))
        result = ringfort("up", tmp_path / "r.toml", "-q", "--out", "out")
        assert (result.exit_code, "client-03 has no enrolment" in result.stderr) == (2, True), result.stderr
        assert not Path("out/deployment").exists()

    def test_whoever_is_left_out_by_name_need_not_be_enrolled(self, tmp_path, ringfort, monkeypatch):
        few = enrol(tmp_path / "few", NAMES[:3], datetime.now(UTC))
        (tmp_path / "r.toml").write_text(RECIPE + table(few))
        monkeypatch.setattr("ringfort.app.deploy.deploy", Mock(side_effect=Incompatible("it would start")))
        result = ringfort("up", tmp_path / "r.toml", "-q", "--out", "out", "--without", "client-03")
        assert "it would start" in result.stderr, result.stderr


def test_without_identity_everybody_is_enrolled_for_the_run(tmp_path):
    up = Up(tmp_path)
    assert up.job()["status"] == "done"
    assert os.stat(up.run / "members").st_mode & 0o077 == 0
    assert not list((up.run / "members" / "authority").glob("*.key.pem"))
    assert _said([], up.members, NAMES, [])[-1].startswith("Any enrolled client")


def receipts(run, *more):
    done = CliRunner().invoke(app, ["log", "receipts", str(run), "--json", *map(str, more)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_receipts_of_members_who_were_enrolled_anew_still_count(tmp_path, monkeypatch):
    up = Up(tmp_path)
    assert up.job(lambda number: "end" if number == 10 else None)["status"] == "aborted"
    first = (up.run / "members" / "homes" / "coordinator" / "grant.json").read_bytes()
    monkeypatch.setattr("ringfort.app.members._HOUR", timedelta(days=2))  # nobody is enrolled for that long
    up = Up(tmp_path)
    assert (up.run / "members" / "homes" / "coordinator" / "grant.json").read_bytes() != first
    assert up.job()["status"] == "done"
    found = receipts(up.run)
    assert (found["checked"], found["counted"], found["missing"]) == (list(NAMES), 16, {})
    assert not list((up.run / "members").rglob("authority*.key.pem"))


@pytest.mark.parametrize(
    ("where", "neighbouring", "ledgers"), [("local", "replace-one", 4), ("central", "replace-one", 1)]
)
def test_receipts_compare_every_ledger(tmp_path, where, neighbouring, ledgers):
    known = people(tmp_path)
    spec = f'where = "{where}"\nepsilon = 50.0\ndelta = 0.01\nnoise_multiplier = 4.0\nclip_norm = 1.0\n'
    up = Up(tmp_path, f'{table(known)}[privacy]\n{spec}neighbouring = "{neighbouring}"\n')
    assert up.job()["status"] == "done"
    found = receipts(up.run, "--registry", known.registry, "--authority", known.folder / "homes" / "client-00")
    assert (found["ledgers"], found["counted"], found["clients"]) == (ledgers, 16, list(NAMES))


@pytest.mark.parametrize("name", ["server", "admin", "jobs", "grants", "localhost"])
def test_no_client_is_called_like_a_folder_of_the_deployment(tmp_path, name):
    with pytest.raises(InvalidValue, match=f"called '{name}'"):
        provision(tmp_path / "deployment", ("ada", name))
