"""Recipes with seals, privacy and guards, and the commands about them: what runs, what is written, what is refused."""

import json

import pytest

from ringfort.app import recipe as recipes
from ringfort.secagg.seals import SEALS

SHARED = 'seal={name="shared",clip=4.0,bits=15,min_cohort=4,max_weight=0.5}'
MASKED = 'seal={name="masked",clip=1.0,bits=12,corrupt_fraction=0.1,dropout_fraction=0.1,min_cohort=8,rotate=true}'
GROUPED = (
    'seal={name="grouped",group_size=3,epoch_rounds=9,clip=4.0,bits=18,corrupt_fraction=0.0,'
    "dropout_fraction=0.0,min_group=3}"
)
CENTRAL = (
    'privacy={where="central",epsilon=50.0,delta=0.01,noise_multiplier=1.0,clip_norm=1.0,'
    'neighbouring="add-or-remove-one"}'
)
LOCAL = 'privacy={where="local",epsilon=50.0,delta=0.01,noise_multiplier=4.0,clip_norm=1.0,neighbouring="replace-one"}'
DISTRIBUTED = (
    'privacy={where="distributed",epsilon=50.0,delta=0.01,noise_multiplier=1.0,clip_norm=1.0,'
    'neighbouring="zero-out-one",alive=8,colluding=1}'
)


EXAMPLE = (
    'privacy={where="example",epsilon=8.0,delta=0.01,noise_multiplier=1.0,clip_norm=1.0,'
    'neighbouring="add-or-remove-one",examples=40}'
)


@pytest.fixture
def trained(ringfort, recipe):
    def run(*overrides, out="out"):
        words = [word for given in overrides for word in (("--set", given) if "=" in given else (given,))]
        return ringfort("train", recipe, "-q", "--json", "--out", out, *words)

    return run


def records(folder="out"):
    with open(f"{folder}/rounds.jsonl") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(("seal", "rule"), [(SHARED, "multi-krum"), (MASKED, "mean"), (GROUPED, "median")])
def test_train_runs_under_a_seal_and_the_report_says_what_it_hides(trained, seal, rule):
    f = {"multi-krum": 2, "mean": 0, "median": 1}[rule]
    result = trained(seal, f"defence.rule={rule}", f"defence.f={f}")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert value["accuracy"] > 0.9
    assert any("Updates came under the seal" in said for said in value["protections"])
    assert not any("reads every update" in said for said in value["not_covered"])
    assert all(record["seal"].lower().startswith(seal.split('"')[1]) for record in records()[1:])


def test_a_drill_runs_under_a_seal(ringfort, recipe):
    walls = 'drill.walls=["mean","multi-krum"]'
    result = ringfort("drill", recipe, "-q", "--json", "--out", "out", "--set", SHARED, "--set", walls)
    assert result.exit_code == 0, result.stderr
    flips = {cell["wall"]: cell for cell in json.loads(result.stdout)["cells"] if cell["attack"] == "sign-flip"}
    assert flips["multi-krum"]["accuracy"]["mean"] > 0.9


@pytest.mark.parametrize(
    ("overrides", "code", "words"),
    [
        ((MASKED,), "RF103", "needs to see every row"),
        ((SHARED, "defence.rule=trimmed-mean"), "RF103", "inner products"),
        ((GROUPED, "defence.f=2"), "RF301", "Median bears 1"),
        ((SHARED, "train.rate=0.5", "defence.rule=krum", "defence.f=1"), "RF103", "train.rate"),
        ((MASKED.replace("min_cohort=8", "min_cohort=11"), "defence.rule=mean", "defence.f=0"), "RF501", "min_cohort"),
        ((CENTRAL,), "RF103", "promises nothing"),
        ((CENTRAL, SHARED, "defence.rule=mean", "defence.f=0"), "RF103", "promises nothing"),
        ((DISTRIBUTED, "defence.rule=mean", "defence.f=0"), "RF103", "no seal"),
        ((DISTRIBUTED, SHARED, "defence.rule=mean", "defence.f=0"), "RF103", "masked or the grouped"),
        (
            (DISTRIBUTED, MASKED.replace("clip=1.0", "clip=2.0"), "defence.rule=mean", "defence.f=0"),
            "RF103",
            "seal.clip",
        ),
        ((DISTRIBUTED.replace("alive=8", "alive=9"), MASKED, "defence.rule=mean", "defence.f=0"), "RF103", "9 clients"),
        (
            (EXAMPLE, 'sanitise={max_set_aside=0.5,class_floor=0,excess="flag",checks=["exact-duplicates"]}'),
            "RF103",
            "after it",
        ),
        ((EXAMPLE, "train.batch=40"), "RF103", "not below privacy.examples"),
        ((EXAMPLE.replace("delta=0.01", "delta=0.1"),), "RF103", "at most one over"),
        ((EXAMPLE.replace("add-or-remove-one", "replace-one"),), "RF104", "neighbouring"),
        (("train.rate=0.5", "train.cohort=5"), "RF103", "give one"),
        (("defence.rule=fltrust",), "RF103", "root data"),
        (("defence.rule=fltrust", "defence.root_examples=100000"), "RF103", "leaves none"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_anything_runs(trained, overrides, code, words):
    result = trained(*overrides)
    assert result.exit_code in (2, 3)
    assert code in result.stderr
    assert words in result.stderr


def test_recipe_validate_refuses_them_too(ringfort, recipe):
    result = ringfort("recipe", "validate", recipe, "--set", MASKED)
    assert (result.exit_code, "RF103" in result.stderr) == (2, True)
    result = ringfort("recipe", "validate", recipe, "--set", CENTRAL)
    assert (result.exit_code, "RF103" in result.stderr) == (2, True)
    fine = ("--set", SHARED, "--set", "defence.rule=krum")
    assert "RF103" in ringfort("recipe", "validate", recipe, *fine).stderr  # the drill's median sees no coordinates
    assert ringfort("recipe", "validate", recipe, *fine, "--set", 'drill.walls=["mean"]').exit_code == 0


def test_a_drill_does_not_pretend_to_be_private(ringfort, recipe):
    result = ringfort("drill", recipe, "--set", LOCAL, "--out", "out")
    assert (result.exit_code, "RF103" in result.stderr) == (2, True)


@pytest.mark.parametrize("privacy", [CENTRAL, LOCAL, DISTRIBUTED], ids=["central", "local", "distributed"])
def test_train_is_private_and_says_what_was_spent(trained, ringfort, privacy):
    result = trained(privacy, *([MASKED] if privacy is DISTRIBUTED else []), "defence.rule=mean", "defence.f=0")
    assert result.exit_code == 0, result.stderr
    said = " ".join(json.loads(result.stdout)["protections"])
    assert "Spent so far: epsilon" in said
    assert all("claim" in record["privacy"] for record in records()[1:])
    ledger = "out/privacy.jsonl" if privacy is CENTRAL else "out/privacy"
    shown = json.loads(ringfort("privacy", "show", ledger, "--json").stdout)
    assert len(shown) == (1 if privacy is CENTRAL else 10)
    assert all(0 < one["spent"]["epsilon"] < 50 and one["charges"] == 3 for one in shown)
    assert "epsilon" in ringfort("privacy", "show", ledger).stdout


def test_train_is_private_for_examples_and_says_for_whom_it_is_not(trained, ringfort):
    result = trained(EXAMPLE, "train.steps=10")  # the recipe's median: what follows the noise costs nothing
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert value["accuracy"] > 0.8
    assert any("unit: one example" in said for said in value["protections"])
    assert any("not a client" in said for said in value["not_covered"])
    assert not any("Nothing here protects" in said for said in value["not_covered"])
    assert {record["privacy"]["claim"]["unit"] for record in records()[1:]} == {"example"}
    shown = json.loads(ringfort("privacy", "show", "out/privacy", "--json").stdout)
    assert [one["budget"]["unit"] for one in shown] == ["example"] * 10
    # 3 rounds of 10 steps, chance 8/40, noise 1: the spend of the accountant for 30 steps, in every ledger
    from ringfort.privacy import Gaussian, Neighbouring, Poisson, spend

    want = spend([(Gaussian(1.0, Poisson(0.2, 40), 0.0), 30)], Neighbouring.ADD_OR_REMOVE, 0.01).epsilon
    assert all(one["spent"]["epsilon"] == pytest.approx(want, rel=1e-3) for one in shown)


def test_an_examples_budget_ends_the_run_and_a_resume_does_not_get_past_it(trained):
    overrides = (EXAMPLE.replace("epsilon=8.0", "epsilon=3.0"), "train.rounds=9")
    first = trained(*overrides)
    assert first.exit_code != 0
    assert "RF401" in first.stderr
    done = len(records())
    assert 1 < done < 10
    again = trained(*overrides, "--resume")
    assert (again.exit_code != 0, "RF401" in again.stderr) == (True, True)
    assert len(records()) == done


def test_a_resumed_run_goes_on_with_its_ledgers(trained, ringfort):
    def spent():
        return [one["charges"] for one in json.loads(ringfort("privacy", "show", "out/privacy", "--json").stdout)]

    assert trained(EXAMPLE, "train.rounds=1").exit_code == 0
    assert spent() == [1] * 10
    assert trained(EXAMPLE, "train.rounds=3", "--resume").exit_code == 0
    assert spent() == [3] * 10


@pytest.mark.parametrize("privacy", [CENTRAL, LOCAL, DISTRIBUTED], ids=["central", "local", "distributed"])
def test_updates_may_be_clipped_per_layer_for_the_same_price(trained, privacy):
    seal = [MASKED] if privacy is DISTRIBUTED else []
    values = []
    for number, spec in enumerate((privacy, privacy.replace("}", ",per_layer=true}"))):
        result = trained(spec, *seal, "defence.rule=mean", "defence.f=0", out=f"out-{number}")
        assert result.exit_code == 0, result.stderr
        values.append(json.loads(result.stdout)["budget_spent"])
    assert values[0] == values[1]
    assert len(values[0]) == 3


def test_a_clip_that_adapts_is_part_of_a_recipe_and_not_per_layer(trained):
    adapts = CENTRAL.replace("}", ",adaptive={quantile=0.5,learning_rate=0.2,count_noise=1.0}}")
    assert trained(adapts, "defence.rule=mean", "defence.f=0").exit_code == 0
    norms = [record["privacy"]["release"]["norm"] for record in records()[1:]]
    assert len(set(norms)) == 3
    both = trained(adapts.replace("}}", "},per_layer=true}"), "defence.rule=mean", "defence.f=0", out="both")
    assert (both.exit_code, "not both" in both.stderr) == (2, True)


def test_a_spent_budget_ends_the_run_with_what_was_committed_on_disk_and_a_resume_does_not_get_past_it(trained):
    overrides = (CENTRAL.replace("epsilon=50.0", "epsilon=6.5"), "defence.rule=mean", "defence.f=0", "train.rounds=9")
    first = trained(*overrides)
    assert (first.exit_code, "RF401" in first.stderr) == (3, True)
    done = len(records())
    assert 1 < done < 10
    again = trained(*overrides, "--resume")
    assert (again.exit_code, "RF401" in again.stderr) == (3, True)
    assert len(records()) == done


def test_a_ledger_that_was_edited_is_not_shown(trained, ringfort):
    trained(CENTRAL, "defence.rule=mean", "defence.f=0")
    with open("out/privacy.jsonl") as file:
        text = file.read()
    with open("out/privacy.jsonl", "w") as file:
        file.write(text.replace('"epsilon":50.0', '"epsilon":90.0'))
    result = ringfort("privacy", "show", "out/privacy.jsonl")
    assert (result.exit_code, "RF701" in result.stderr) == (3, True)


PLAN = ("--clients", 1000, "--rounds", 100, "--delta", 1e-5, "--neighbouring", "add-or-remove-one")


def test_a_plan_and_its_price_agree(ringfort):
    made = json.loads(
        ringfort(
            "privacy", "plan", *PLAN, "--rate", 0.1, "--epsilon", 8, "--clip", 0.5, "--parameters", 100, "--json"
        ).stdout
    )
    noise = made["price"]["noise_multiplier"]
    assert noise == pytest.approx(0.936, abs=0.002)
    assert made["noise_norm"] == pytest.approx(10 * made["noise_per_coordinate"])
    priced = json.loads(ringfort("privacy", "calibrate", *PLAN, "--rate", 0.1, "--noise", noise, "--json").stdout)
    assert 7.9 < priced["spent"]["epsilon"] <= 8
    assert "names at most" in ringfort("privacy", "calibrate", *PLAN, "--rate", 0.1, "--noise", noise).stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--noise", 1), "RF104"),
        (("--noise", 1, "--rate", 0.1, "--everyone"), "RF104"),
        (("--noise", 1, "--rate", 0.1, "--neighbouring", "add-or-remove"), "RF101"),
        (("--noise", 1, "--cohort", 100), "RF103"),
        (("--noise", 1, "--rate", 0.1, "--delta", 0.1), "RF104"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(ringfort, words, code):
    result = ringfort("privacy", "calibrate", *PLAN, *words)
    assert (result.exit_code, code in result.stderr) == (2, True)


def test_every_seal_is_listed_with_what_it_hides_and_what_it_does_not(ringfort):
    rows = json.loads(ringfort("seals", "--json").stdout)
    assert [row["name"] for row in rows] == list(SEALS)
    assert all(len(row[what]) > 30 for row in rows for what in ("guarantees", "does not protect against", "cost"))
    rules = {row["name"]: row["rules"] for row in rows}
    assert rules["masked"] == "mean"
    assert "multi-krum" in rules["shared"]
    assert "median" not in rules["shared"].replace("geometric-median", "")
    assert "shared: Three aggregation servers" in " ".join(ringfort("seals").stdout.split())


def test_robustness_is_estimated_beside_the_least_there_can_be(ringfort):
    result = ringfort(
        "bench", "robustness", "--n", 7, "--f", 2, "--d", 5, "--rule", "median", "--rule", "mean", "--json"
    )
    found = {one["rule"]: one for one in json.loads(result.stdout)}
    assert found["Median"]["lower"] == pytest.approx(2 / 3)
    assert found["Median"]["kappa"] < 10 < found["Mean"]["kappa"]
    refused = ringfort("bench", "robustness", "--rule", "medain")
    assert (refused.exit_code, "did you mean 'median'" in refused.stderr) == (2, True)


def test_a_guard_is_part_of_a_recipe(trained, recipe):
    guard = "guard={twins=0.2,largest=100.0,activations={examples=16,nested=0.9,singles=0.5}}"
    assert recipes.read(recipe, [guard]).guard.activations.examples == 16
    assert trained("guard={twins=0.2,largest=100.0}").exit_code == 0
    strict = trained("guard={twins=0.2,largest=1e-9}", out="strict")
    assert (strict.exit_code, "RF604" in strict.stderr) == (3, True)
