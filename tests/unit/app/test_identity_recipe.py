"""[identity] in a recipe: names are believed with a signature only, and the report says so."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfort.client.node import client_names
from ringfort.testing import enrol

NAMES = client_names(10)
SEALS = {
    "": ("median", 2),
    'seal={name="shared",clip=4.0,bits=15,min_cohort=4,max_weight=0.5}': ("multi-krum", 2),
    'seal={name="masked",clip=1.0,bits=12,corrupt_fraction=0.1,dropout_fraction=0.1,min_cohort=8,rotate=true}': (
        "mean",
        0,
    ),
}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    helpers = ("coordinator", "aggregator-2", "aggregator-3")
    return enrol(tmp_path_factory.mktemp("people") / "all", NAMES, datetime.now(UTC), servers=helpers)


@pytest.fixture
def trained(ringfort, recipe):
    def run(people, *overrides):
        registry, homes = people.registry, people.folder / "homes"
        identity = f'identity={{registry="{registry}",homes="{homes}",server="coordinator"}}'
        words = [word for given in (identity, *overrides) if given for word in ("--set", given)]
        return ringfort("train", recipe, "-q", "--json", "--out", "out", *words)

    return run


@pytest.mark.parametrize("seal", SEALS)
def test_a_run_behind_signatures(ringfort, trained, people, seal):
    rule, f = SEALS[seal]
    result = trained(people, seal, f"defence.rule={rule}", f"defence.f={f}", "train.workers=2")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert not any("not authenticated" in said for said in value["not_covered"])
    assert any("Names are authenticated" in said for said in value["protections"])
    assert any("All keys were on this machine" in said for said in value["not_covered"])
    checked = ringfort(
        "log", "receipts", "out", "--registry", people.registry, "--authority", people.authority.hex(), "--json"
    )
    assert checked.exit_code == 0, checked.stderr
    history = json.loads(checked.stdout)
    assert history["faults"] == []
    assert history["checked"] == list(NAMES)
    assert (history["counted"], history["unacknowledged"]) == (30, 0)


def test_signatures_change_no_bit_of_the_model(trained, people, ringfort, recipe):
    signed = trained(people)
    plain = ringfort("train", recipe, "-q", "--json", "--out", "plain")
    assert json.loads(signed.stdout)["model"] == json.loads(plain.stdout)["model"]
    assert any("not authenticated" in said for said in json.loads(plain.stdout)["not_covered"])


def test_whoever_is_not_enrolled_is_named_before_anything_runs(trained, tmp_path):
    few = enrol(tmp_path / "few", NAMES[:8], datetime.now(UTC))
    result = trained(few)
    assert result.exit_code == 2
    assert "client-08 and 1 others has no enrolment" in result.stderr
    assert not Path("out/rounds.jsonl").exists() or not Path("out/rounds.jsonl").read_bytes()


def test_whoever_was_revoked_is_not_asked(trained, tmp_path):
    town = enrol(tmp_path / "town", NAMES, datetime.now(UTC))
    with town.writer() as registry:
        registry.revoke("client-03", "left", datetime.now(UTC))
    result = trained(town)
    assert result.exit_code == 0, result.stderr
    records = [json.loads(line) for line in Path("out/rounds.jsonl").read_bytes().splitlines()][1:]
    assert all("client-03" not in record["cohort"] and len(record["cohort"]) == 9 for record in records)


def test_a_server_whose_enrolment_is_over_asks_nobody(trained, tmp_path):
    old = enrol(tmp_path / "old", NAMES, datetime.now(UTC) - timedelta(days=3))
    result = trained(old)
    assert result.exit_code == 3
    assert "expired" in result.stderr


def test_a_drill_has_no_identities(ringfort, recipe):
    identity = 'identity={registry="r",homes="h",server="s"}'
    result = ringfort("drill", recipe, "-q", "--out", "out", "--set", identity)
    assert result.exit_code == 2
    assert "without [identity]" in result.stderr
