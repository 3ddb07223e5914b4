"""The aggregator under NVFlare's own FedAvg controller, with its own FLModels and shareables."""

import json
import logging

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.fuel.utils.class_utils import instantiate_class

from ringfort.core.errors import Incompatible, InvalidValue, NothingAdmitted, ToleranceExceeded, UnknownName
from ringfort.engine.nvflare.aggregator import RingfortAggregator, site_id
from ringfort.rounds import Decision, Decisions, read_records

from .fedavg_loop import Loop

SITES = tuple(f"site-{number}" for number in range(1, 7))
STEPS = "NUM_STEPS_CURRENT_ROUND"


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def start():
    return {"w": np.zeros((2, 3), np.float32), "a": np.zeros(3, np.float32), "scale": np.array(0, np.float32)}


def moved(site, model):
    goal = 1.0 + (int(site[-1]) - 3) / 100
    return {name: (values + (goal - values) / 2).astype(np.float32) for name, values in model.params.items()}


def honest(site, model):
    """One step towards the site's own point, near 1."""
    return FLModel(params=moved(site, model), metrics={"loss": float(site[-1])}, meta={STEPS: 20})


def aggregator(rule="mean", f=0, run=None, **given):
    walls = {"rule": rule, "f": f, "max_norm": 50.0, "max_examples": 1000}
    return RingfortAggregator(**{"run": None if run is None else str(run), **walls, **given})


def loop(one, rounds=1, weights=None, claims=None, persistor=True, **special):
    sites = {name: special.get(name.replace("-", "_"), honest) for name in SITES}
    return Loop(one, sites, start() if weights is None else weights, rounds, claims=claims, persistor=persistor)


def test_with_the_mean_it_learns_what_fedavg_learns():
    ours = loop(aggregator(), 4).start().after
    theirs = loop(None, 4).start().after
    assert list(ours.params) == list(theirs.params) == ["w", "a", "scale"]
    for name, values in theirs.params.items():
        assert ours.params[name].shape == values.shape
        assert np.allclose(ours.params[name], values, atol=1e-6)
        assert values.min() > 0.9


@pytest.mark.parametrize("kind", ["FULL", "DIFF"])
def test_a_hostile_site_takes_fedavg_and_not_multi_krum(kind):
    def turned(site, model):
        params = {name: -8 * values - 3 for name, values in moved(site, model).items()}
        if kind == "DIFF":
            params = {name: values - model.params[name] for name, values in params.items()}
        return FLModel(params_type=kind, params=params, meta={STEPS: 1000})

    def others(site, model):
        answer = honest(site, model)
        if kind == "DIFF":
            answer.params = {name: values - model.params[name] for name, values in answer.params.items()}
            answer.params_type = ParamsType.DIFF
        return answer

    special = {name.replace("-", "_"): others for name in SITES} | {"site_4": turned}
    assert abs(loop(None, 4, **special).start().after.params["w"] - 1).min() > 2
    one = aggregator("multi-krum", f=1)
    assert loop(one, 4, **special).start().after.params["w"].min() > 0.9
    weights = {v.client: v.weight for v in one.record.verdicts}
    assert weights["site-4"] == 0
    assert sum(weights.values()) == pytest.approx(1)


def sends(params=None, kind="FULL", meta=None, **changes):
    def train(site, model):
        new = {**moved(site, model), **changes} if params is None else params
        return FLModel(params_type=kind, params=new, meta={STEPS: 20} if meta is None else meta)

    return train


def without(site, model):
    answer = honest(site, model)
    del answer.params["a"]
    return answer


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (without, "keys"),
        (sends(other=np.zeros(3, np.float32)), "keys"),
        (sends({7: np.zeros(3, np.float32)}), "keys"),
        (sends(a=np.zeros(3)), "dtype"),
        (sends(a=np.zeros(3, np.float16)), "dtype"),
        (sends(a=np.array(["x", "y", "z"])), "dtype"),
        (sends(a=[1.0, 2.0, 3.0]), "dtype"),
        (sends(a=None), "dtype"),
        (sends(a=np.zeros((1, 3), np.float32)), "shape"),
        (sends(scale=np.zeros(1, np.float32)), "shape"),
        (sends(a=np.full(3, np.nan, np.float32)), "not-finite"),
        (sends(a=np.full(3, np.inf, np.float32), kind="DIFF"), "not-finite"),
        (sends(a=np.full(3, 3e38, np.float32), kind="DIFF"), "norm-cap"),
        (sends(a=np.full(3, 99, np.float32)), "norm-cap"),
        (sends(meta={STEPS: 10**9}), "weight-cap"),
        (sends(meta={STEPS: 10**400}), "weight-cap"),
        (sends(meta={STEPS: np.int64(-1)}), "weight-cap"),
        (sends(meta={STEPS: float("nan")}), "weight-cap"),
        (sends(meta={STEPS: np.float32(2.5)}), "weight-cap"),
        (sends(meta={STEPS: "many"}), "weight-cap"),
        (sends(meta={STEPS: None}), "weight-cap"),
    ],
)
def test_whatever_one_site_sends_the_round_goes_on_without_it(train, reason):
    one = aggregator("multi-krum", f=1)
    after = loop(one, site_2=train).start().after
    [refusal] = one.record.refusals
    assert (refusal.client, refusal.reason) == ("site-2", reason)
    assert len(one.record.verdicts) == 5
    assert after.params["w"].min() > 0.4


def test_a_claim_is_not_needed_and_may_be_numpys():
    one = aggregator()
    loop(one, site_1=sends(meta={}), site_2=sends(meta={STEPS: np.int64(7)})).start()
    assert len(one.record.verdicts) == 6
    assert [v.weight for v in one.record.verdicts] == pytest.approx([1 / 6] * 6)


@pytest.mark.parametrize("code", ["EXECUTION_EXCEPTION", "made up", "\ud800", 7, ["OK"], np.zeros(2)])
def test_an_error_that_a_site_reports_is_its_own_failure(code):
    def fails(site, model):
        reply = make_reply("OK")
        reply.set_return_code(code)
        return reply

    if isinstance(code, str) and code == "EXECUTION_EXCEPTION":  # without the aggregator it ends the job
        with pytest.raises(RuntimeError, match="site-3 is bad"):
            loop(None, site_3=fails).start()
    one = aggregator()
    loop(one, 2, site_3=fails).start()
    [failure] = one.record.failures
    assert failure.client == "site-3"
    assert one.record.round == 2
    assert len(one.record.verdicts) == 5


def test_who_answers_nothing_is_absent():
    def metrics_only(site, model):
        return DXO(DataKind.METRICS, data={"loss": 1.0}).to_shareable()

    def no_table(site, model):
        result = FLModelUtils.to_shareable(honest(site, model))
        dxo = next(value for value in result.values() if isinstance(value, dict) and "data" in value)
        dxo["data"] = [1.0, 2.0]
        return result

    one = aggregator()
    nothing = {"site_1": lambda *_: None, "site_2": sends({}), "site_3": lambda *_: make_reply("OK")}
    loop(one, site_4=metrics_only, site_5=no_table, **nothing).start()
    assert one.record.absent == SITES[:5]
    assert len(one.record.verdicts) == 1


def test_a_second_answer_in_a_round_does_not_count():
    def twice(site, model):
        return [honest(site, model), FLModel(params={name: v - 9 for name, v in moved(site, model).items()})]

    one = aggregator()
    after = loop(one, site_5=twice).start().after
    assert np.array_equal(after.params["w"], loop(aggregator()).start().after.params["w"])
    assert len(one.record.verdicts) == 6


def test_nobody_speaks_for_another_site():
    def forged(site, model):
        answer = honest(site, model)
        answer.meta.update(client_name="site-1", site_name="site-1")
        answer.params["a"] = np.full(3, np.nan, np.float32)
        return answer

    one = aggregator()
    loop(one, site_6=forged, claims={"site-6": "site-1"}).start()
    assert [refusal.client for refusal in one.record.refusals] == ["site-6"]
    assert "site-1" in {v.client for v in one.record.verdicts}

    loop(one := aggregator(), claims={"site-6": "stranger"}).start()
    assert one.record.cohort == SITES

    fails = make_reply("EXECUTION_EXCEPTION")
    loop(one := aggregator(), site_1=lambda *_: fails, claims={"site-1": "site-6"}).start()
    assert one.record.failures == ()  # the site that it named answered
    assert one.record.absent == ()
    assert len(one.record.verdicts) == 5


def test_one_site_cannot_move_the_metrics_far_or_make_one_up():
    def boasts(site, model):
        answer = honest(site, model)
        answer.metrics = {"loss": -1e30, "accuracy": 1.0, 7: 1.0, "huge": 10**400, "odd": float("nan"), "none": None}
        return answer

    looped = loop(aggregator(), site_6=boasts).start()
    assert looped.result.metrics == {"loss": 2.5}
    assert loop(aggregator(), **{n.replace("-", "_"): sends() for n in SITES}).start().result.metrics is None


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    run = tmp_path / "deep" / "run"
    whole = loop(aggregator(), 5).start().after.params
    loop(aggregator(run=run), 2).start()
    other = {name: values + np.float32(7) for name, values in start().items()}  # the persistor starts anew
    rest = loop(aggregator(run=run), 3, other).start()
    assert all(np.array_equal(rest.after.params[name], values) for name, values in whole.items())
    assert rest.sent[0]["w"].max() < 0.8
    records, _ = read_records(run)
    assert [record.round for record in records] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(Incompatible, match="another recipe"):
        loop(aggregator("median", run=run)).start()


def test_a_model_without_a_persistor_is_learned_from_the_task():
    whole = loop(aggregator(), 3).start().after.params
    bare = loop(aggregator(), 3, persistor=False).start().after.params
    assert all(np.array_equal(bare[name], values) for name, values in whole.items())


def test_a_run_that_cannot_be_put_back_is_not_gone_on_with(tmp_path):
    loop(aggregator(run=tmp_path), 2).start()
    with pytest.raises(Incompatible, match="persistor"):
        loop(aggregator(run=tmp_path), 2, persistor=False).start()
    assert len(read_records(tmp_path)[0]) == 3


def test_a_controller_that_changes_the_model_in_between_is_found_out():
    class Optimised(Loop):
        def update_model(self, model, result):
            model = super().update_model(model, result)
            model.params["w"] = model.params["w"] * np.float32(0.9)
            return model

    one = aggregator()
    with pytest.raises(Incompatible, match="another model"):
        Optimised(one, dict.fromkeys(SITES, honest), start(), 3).start()
    assert one.record.round == 1


def test_too_few_sites_for_f_are_not_even_asked():
    looped = loop(aggregator("multi-krum", f=2))
    with pytest.raises(ToleranceExceeded):
        looped.start()
    assert looped.asked == []


def test_a_round_without_updates_ends_the_job_and_keeps_the_rest(tmp_path):
    calls = []

    def stops(site, model):
        calls.append(site)
        return honest(site, model) if len(calls) <= len(SITES) else None

    special = {name.replace("-", "_"): stops for name in SITES}
    with pytest.raises(NothingAdmitted):
        loop(aggregator(run=tmp_path), 3, **special).start()
    assert len(read_records(tmp_path)[0]) == 2
    loop(aggregator(run=tmp_path)).start()
    assert len(read_records(tmp_path)[0]) == 3


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"w": [1.0, 2.0]}, "NumPy"),
        ({"counter": np.array(3)}, "counter"),
        ({"w": np.zeros(3)}, "float32"),
        ({7: np.zeros(3, np.float32)}, "NumPy"),
        ({"w": np.full(3, np.nan, np.float32)}, "NaN"),
    ],
)
def test_a_model_that_it_cannot_guard_is_refused_before_anybody_is_asked(weights, said):
    looped = loop(aggregator(), weights=weights)
    with pytest.raises(Incompatible, match=said):
        looped.start()
    assert looped.asked == []


def test_whom_a_person_quarantines_does_not_count_though_asked(tmp_path):
    one = aggregator(run=tmp_path, watch_alpha=0.01)
    looped = loop(one, 2)

    def decide(site, model):
        if model.current_round == 0:
            Decisions(tmp_path).append(Decision("quarantine", site_id("site-2"), "its site asked for it", "ada", 2))
        return FLModel(params=moved(site, model), metrics={"loss": -9.0}, meta={STEPS: 20})

    looped.sites["site-2"] = decide
    looped.start()
    assert looped.asked.count("site-2") == 2
    assert one.record.watch["barred"] == ["site-2"]
    assert looped.result.metrics == {"loss": 4.0}
    assert "site-2" not in {v.client for v in one.record.verdicts}


def test_another_controller_is_refused():
    one = aggregator()
    for call in (one.accept, one.aggregate, one.reset):
        with pytest.raises(Incompatible, match="FedAvg"):
            call(make_reply("OK"), None)
    with pytest.raises(Incompatible, match="name"):
        one.accept_model(FLModel(params=start()))
    with pytest.raises(Incompatible, match="no train task"):
        one.aggregate_model()
    with pytest.raises(InvalidValue, match="no round"):
        one.record  # noqa: B018


FILE = """
[gate]
max_norm = 50.0
max_examples = 1000

[defence]
f = 1
rule = ["nnm", {name = "multi-krum", m = 3}]

[watch]
alpha = 0.01
reputation = "norm-cohort"
detectors = [{name = "own-past", score = "norm", drift = 1.5}, {name = "in-cohort", score = ["norm"]}]
"""


@pytest.mark.parametrize("way", ["words", "file"])
def test_its_arguments_survive_the_configuration_of_the_job(tmp_path, way):
    (tmp_path / "walls.toml").write_text(FILE.replace("norm-cohort", "norm"))
    if way == "words":
        one = aggregator("nnm | trimmed-mean", f=0, run=tmp_path / "run", watch_alpha=0.05)
    else:
        one = RingfortAggregator(recipe=str(tmp_path / "walls.toml"), run=None)
    (tmp_path / "client.py").write_text("")
    recipe = NumpyFedAvgRecipe(
        name="job", model=[[0.0, 0.0]], min_clients=5, train_script=str(tmp_path / "client.py"), aggregator=one
    )
    recipe.export(str(tmp_path / "jobs"))
    [path] = (tmp_path / "jobs").rglob("config_fed_server.json")
    [workflow] = json.loads(path.read_text())["workflows"]
    stored = workflow["args"]["aggregator"]
    again = instantiate_class(stored["path"], stored["args"])
    names = ("run", "recipe", "rule", "f", "max_norm", "max_examples", "watch_alpha")
    assert type(again) is RingfortAggregator
    assert {name: getattr(again, name) for name in names} == {name: getattr(one, name) for name in names}
    if way == "file":
        loop(again).start()
        assert "MultiKrum(f=1, m=3)" in again.record.rule
        assert again.record.watch["standings"] == {"new": 6}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"rule": "multi-krumm"}, UnknownName, "multi-krum"),
        ({"rule": "median | nnm"}, UnknownName, "mixing"),
        ({"rule": "centered-clipping"}, InvalidValue, "radius"),
        ({"rule": {"name": "median"}}, InvalidValue, "rule must be a name"),
        ({"rule": None}, InvalidValue, "rule must be a name"),
        ({"f": None}, InvalidValue, "f must"),
        ({"f": -1}, InvalidValue, "f must"),
        ({"f": True}, InvalidValue, "f must"),
        ({"max_norm": None}, InvalidValue, "max_norm"),
        ({"max_examples": 0}, InvalidValue, "max_examples"),
        ({"watch_alpha": 0.0}, InvalidValue, "alpha"),
        ({"run": "runs/here"}, InvalidValue, "absolute"),
        ({"recipe": "/srv/walls.toml"}, Incompatible, "rule, f, max_norm, max_examples"),
    ],
)
def test_arguments_that_make_no_walls_are_refused_in_the_job_script(changes, error, said):
    with pytest.raises(error, match=said):
        aggregator(**changes)


def test_a_file_that_is_not_there_ends_the_job_before_anybody_is_asked(tmp_path):
    looped = loop(RingfortAggregator(recipe=str(tmp_path / "none.toml"), run=None))
    with pytest.raises(Exception, match=r"none\.toml"):
        looped.start()
    assert looped.asked == []


def test_no_two_sites_share_a_name():
    names = ["a", "A", "a-", "-a", "a b", "a_b", "A_b", "é", "è", "", "x" * 64, "x" * 65, "x" * 66, "\ud800", "../a"]
    names += [site_id(name) for name in names if site_id(name) != name]
    assert len({site_id(name) for name in names}) == len(names)
    assert [site_id(name) for name in ("site-1", "hospital")] == ["site-1", "hospital"]
