"""ringfort log: from a key to a verified run, a proof, an export; and the recipe's [log]."""

import json

import pytest
from typer.testing import CliRunner

from ringfort.app import recipe as recipes
from ringfort.app.build import signing
from ringfort.app.main import app
from ringfort.core.errors import InvalidValue, UnknownName
from ringfort.identity.keyfiles import new_signing_key

RECIPE = """
title = "Digits, 6 clients"
seed = 1
data = { name = "digits", split = { by = "iid", clients = 6 } }
model = { name = "numpy-mlp", hidden = [4] }
gate = { max_norm = 1e4, max_examples = 2000 }
defence = { f = 1, rule = "trimmed-mean" }
train = { rounds = 2, steps = 1, batch = 8, learning_rate = 0.1, evaluate_on = 50 }
"""


def ringfort(*words, check=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == check, done.output
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    (folder / "digits.toml").write_text(RECIPE)
    ringfort("log", "key", folder / "log.key")
    train = ("train", folder / "digits.toml", "--out", folder / "run", "--quiet", "--log-key", folder / "log.key")
    ringfort(*train, "--checkpoint-to", folder / "outside.jsonl")
    return folder


def test_a_key_is_for_its_owner_alone_and_never_overwritten(folder):
    assert (folder / "log.key").stat().st_mode & 0o077 == 0
    assert len((folder / "log.key.pub").read_text().strip()) == 64
    assert "RF107" in ringfort("log", "key", folder / "log.key", check=2).output


def test_verify_prove_check_and_export(folder):
    key = ("--key", folder / "log.key.pub")
    verified = ("log", "verify", folder / "run", "--checkpoint", folder / "outside.jsonl", *key)
    assert "3 of 3 records are covered" in ringfort(*verified).output
    assert json.loads(ringfort(*verified, "--json").output)["anchored"] == 3
    assert "could have rewritten" in ringfort("log", "verify", folder / "run").output
    proof = folder / "proof.json"
    proof.write_text(ringfort("log", "prove", folder / "run", "--round", 1).output)
    assert "holds: round 1 " in ringfort("log", "check", proof, *key).output
    assert json.loads(ringfort("log", "check", proof, *key, "--json").output)["record"]["round"] == 1
    proof.write_text(ringfort("log", "prove", folder / "run", "--since", folder / "outside.jsonl").output)
    assert "everything in the log of size 1" in ringfort("log", "check", proof, *key).output
    proof.write_text(proof.read_text().replace('"size":3', '"size":4'))
    assert "RF705" in ringfort("log", "check", proof, *key, check=3).output
    lines = ringfort("log", "export", folder / "run", "--format", "csv").output.splitlines()
    assert len(lines) == 1 + 2 * 6
    exported = ringfort("log", "export", folder / "run", "--format", "jsonl").output
    assert exported == (folder / "run" / "rounds.jsonl").read_text()


@pytest.mark.parametrize("words", [(), ("--round", 1, "--since", "x")], ids=str)
def test_prove_wants_one_thing_to_prove(folder, words):
    assert "say what to prove" in ringfort("log", "prove", folder / "run", *words, check=2).output


def test_a_signed_run_is_not_continued_unsigned(folder):
    train = ("train", folder / "digits.toml", "--out", folder / "run", "--quiet", "--resume", "--set", "train.rounds=3")
    assert "has signed checkpoints" in ringfort(*train, check=2).output
    ringfort(*train, "--log-key", folder / "log.key")
    outside = ("--checkpoint", folder / "outside.jsonl", "--key", folder / "log.key.pub")
    assert "3 of 4 records are covered" in ringfort("log", "verify", folder / "run", *outside).output


def read(tmp_path, more):
    (tmp_path / "r.toml").write_text(RECIPE + more)
    return recipes.read(tmp_path / "r.toml")


def test_the_recipes_log(tmp_path):
    new_signing_key(tmp_path / "k")
    recipe = read(tmp_path, f'[log]\nkey = "{tmp_path}/k"\nto = ["{tmp_path}/out"]\n')
    assert len(signing(recipe, tmp_path, None, ()).to) == 1
    assert len(signing(recipe, tmp_path, None, ("-", "exec:true")).to) == 2
    assert recipe.federation_digest() == read(tmp_path, "").federation_digest()
    assert signing(read(tmp_path, ""), tmp_path, None, ()) is None
    with pytest.raises(InvalidValue, match="needs a key"):
        signing(read(tmp_path, ""), tmp_path, None, ("-",))
    with pytest.raises(InvalidValue, match="does not name programs"):
        signing(read(tmp_path, f'[log]\nkey = "{tmp_path}/k"\nto = ["exec:true"]\n'), tmp_path, None, ())


@pytest.mark.parametrize("more", ['[log]\nkey = "k"\n', '[log]\nto = ["-"]\n', '[log]\nkey = "k"\nto = []\n'])
def test_neither_key_nor_place_has_a_default(tmp_path, more):
    with pytest.raises(InvalidValue):
        read(tmp_path, more)


def test_a_misspelt_key_of_the_log_is_an_error(tmp_path):
    with pytest.raises(UnknownName, match="did you mean"):
        read(tmp_path, '[log]\nkye = "k"\nto = ["-"]\n')
