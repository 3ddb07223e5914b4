import numpy as np
import pytest

from ringfort.aggregate import Mean, Median, TrimmedMean
from ringfort.core import Failure, client_id
from ringfort.core.errors import Incompatible, NothingAdmitted, ToleranceExceeded
from ringfort.core.ports import Reply
from ringfort.core.randomness import Seeds
from ringfort.core.wire import Broadcast, open_frame
from ringfort.detect import Norm, OwnPast, Policy, Watch
from ringfort.rounds import Answer, Decision, Decisions, Defence, Gate, Hosted, read_records

GATE = Gate(max_norm=100.0, max_examples=1000)
NAMES = tuple(client_id(f"c{i}") for i in range(5))
SHAPES = {"weight": (2, 3), "bias": (3,), "scale": ()}


def tensors(value=0.0):
    return {name: np.full(shape, value, dtype=np.float32) for name, shape in SHAPES.items()}


def hosted(rule=None, f=0, journal=None, **changes):
    return Hosted(tensors(), Defence(rule or Mean()), GATE, f=f, journal=journal, **changes)


def fused(one, asked, given):
    assert one.ask(asked) == tuple(asked)
    return one.fuse(given)


def answers(**special):
    return {name: special.get(name, Answer(tensors(1.0 + i), 10)) for i, name in enumerate(NAMES)}


def test_the_mean_of_what_clients_learned_is_the_next_model():
    with hosted() as one:
        state = fused(one, NAMES, answers())
        assert one.round == 1
        assert {name: tensor.tolist() for name, tensor in one.tensors.items()} == {
            name: np.full(shape, 3.0).tolist() for name, shape in SHAPES.items()
        }
        assert [v.weight for v in state.record.verdicts] == pytest.approx([0.2] * 5)
        fused(one, NAMES, {name: Answer(tensors(5.0), 10) for name in NAMES})
        assert one.tensors["bias"].tolist() == [5.0, 5.0, 5.0]


def test_it_is_the_federation_that_ringfort_runs_itself(toy):
    """The same clients, asked by somebody else, give the same model, bit for bit."""
    federation = toy.federation(rule=Median())
    *_, last = federation.states()
    begun = federation.begin()
    views = toy.MODEL.schema.views
    with Hosted(views(begun.params), Defence(Median()), toy.GATE, f=0, journal=None, seeds=Seeds(1)) as one:
        for number in range(1, 5):
            params = one.state.params
            frame = Broadcast.encode("run", number, toy.MODEL.schema.encode(params))
            given = {}
            for client in toy.local_clients():
                header, body = open_frame(client.handle("train", frame), "update", max_body_bytes=10_000)
                given[client.client] = Answer(views(params + toy.MODEL.schema.decode(body)), header.num_examples)
            fused(one, tuple(given), given)
        assert np.allclose(one.state.params, last.params, atol=1e-6)


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        (Answer({}, 10), "keys"),
        (Answer({**tensors(), "more": np.zeros(3, np.float32)}, 10), "keys"),
        (Answer({**tensors(), "bias": np.zeros(3)}, 10), "dtype"),
        (Answer({**tensors(), "bias": np.zeros(3, np.int64)}, 10), "dtype"),
        (Answer({**tensors(), "bias": [0.0, 0.0, 0.0]}, 10), "dtype"),
        (Answer({**tensors(), "bias": None}, 10), "dtype"),
        (Answer({**tensors(), "bias": np.zeros(1, np.float32)}, 10), "shape"),
        (Answer({**tensors(), "bias": np.zeros((3, 1), np.float32)}, 10), "shape"),
        (Answer(tensors(np.nan), 10), "not-finite"),
        (Answer(tensors(np.inf), 10), "not-finite"),
        (Answer(tensors(3e38), 10), "norm-cap"),
        (Answer(tensors(1e3), 10), "norm-cap"),
        (Answer(tensors(), 0), "weight-cap"),
        (Answer(tensors(), -5), "weight-cap"),
        (Answer(tensors(), 10**18), "weight-cap"),
        (Answer(tensors(), 1e300), "weight-cap"),
        (Answer(tensors(), 10**400), "weight-cap"),
        (Answer(tensors(), 2.5), "weight-cap"),
        (Answer(tensors(), float("nan")), "weight-cap"),
        (Answer(tensors(), True), "weight-cap"),
        (Answer(tensors(), "10"), "weight-cap"),
        (Answer(tensors(), None), "weight-cap"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_whatever_a_client_sends_it_is_refused_with_a_reason_and_the_round_goes_on(strange, reason):
    with hosted(TrimmedMean(f=1), f=1) as one:
        record = fused(one, NAMES, answers(c2=strange)).record
        [refusal] = record.refusals
        assert (refusal.client, refusal.reason) == ("c2", reason)
        assert len(record.verdicts) == 4
        assert np.isfinite(one.state.params).all()


def test_a_difference_is_taken_as_it_is():
    with hosted() as one:
        fused(one, NAMES, answers())
        fused(one, NAMES, {name: Answer(tensors(0.1), 10, difference=True) for name in NAMES})
        assert one.tensors["bias"] == pytest.approx([3.1] * 3)
        fused(
            one, NAMES, {name: Answer(tensors(7.0), 10) for name in NAMES[1:]} | {"c0": Answer(tensors(3.9), 10, True)}
        )
        assert one.tensors["scale"] == pytest.approx(7.0)


def test_failures_and_absences_are_in_the_record():
    with hosted() as one:
        given = answers(c1=Failure(NAMES[1], "ValueError: no"))
        del given[NAMES[3]]
        record = fused(one, NAMES, given).record
        assert [f.client for f in record.failures] == ["c1"]
        assert record.absent == ("c3",)
        assert len(record.verdicts) == 3


def test_answers_of_clients_that_were_not_asked_do_not_count():
    with hosted() as one:
        record = fused(one, NAMES[:2], answers()).record
        assert {v.client for v in record.verdicts} == {"c0", "c1"}
        assert one.tensors["scale"] == 1.5


def test_a_round_without_updates_raises_and_leaves_the_model(tmp_path):
    with hosted(journal=tmp_path) as one:
        fused(one, NAMES, answers())
        with pytest.raises(NothingAdmitted):
            fused(one, NAMES, {})
        assert one.round == 1
        fused(one, NAMES, answers())
    assert [record.round for record in read_records(tmp_path)[0]] == [0, 1, 2]


def test_too_few_for_f_is_refused_before_anybody_is_asked():
    with hosted(TrimmedMean(f=2), f=2) as one:
        one.ask(NAMES)
        with pytest.raises(ToleranceExceeded):
            one.ask(NAMES[:4])
        with pytest.raises(ToleranceExceeded):
            hosted(Mean(), f=1).ask(NAMES)


def test_a_run_is_resumed_from_its_last_committed_round(tmp_path):
    with hosted(journal=tmp_path) as one:
        fused(one, NAMES, answers())
        params, run = one.state.params, one.state.record.run
    with hosted(journal=tmp_path) as two:
        assert (two.round, two.state.record.run) == (1, run)
        assert np.array_equal(two.state.params, params)
        fused(two, NAMES, answers())
    assert len(read_records(tmp_path)[0]) == 3
    with pytest.raises(Incompatible, match="another recipe"):
        hosted(Median(), journal=tmp_path)


def test_only_float32_models_are_taken():
    with pytest.raises(Incompatible, match="num_batches_tracked"):
        Hosted({**tensors(), "bn.num_batches_tracked": np.array(0)}, Defence(Mean()), GATE, f=0, journal=None)
    with pytest.raises(Incompatible, match="NaN"):
        Hosted(tensors(np.nan), Defence(Mean()), GATE, f=0, journal=None)


def test_an_attacker_takes_the_mean_and_not_the_trimmed_mean():
    for rule, f, low, high in ((Mean(), 0, 10.0, 20.0), (TrimmedMean(f=1), 1, 2.0, 4.0)):
        with hosted(rule, f) as one:
            fused(one, NAMES, answers(c4=Answer(tensors(30.0), 1000)))
            assert low < one.tensors["scale"] < high if f else one.tensors["scale"] == 8.0


def test_the_model_it_shows_cannot_be_written_to():
    with hosted() as one:
        fused(one, NAMES, answers())
        with pytest.raises(ValueError, match="read-only"):
            one.tensors["bias"][0] = 9.0


def test_a_reply_is_handed_over_once():
    with hosted() as one:
        fused(one, NAMES, answers())
        assert one._handed.exchange("train", dict.fromkeys(NAMES, b""), None) == {}
        assert isinstance(one._reply(NAMES[0], Answer(tensors(), 1), one_broadcast(one)), Reply)


def one_broadcast(one):
    return Broadcast(one.state.record.run, 1, one.state.params, one.state.record.next_model)


# --- with a watch


def watched():
    return Watch((OwnPast(Norm(), drift=1.0),), Policy(alpha=0.01, reputation="norm-past"))


def test_whom_a_person_quarantines_is_not_asked_any_more(tmp_path):
    defence = Defence(Mean(), watched())
    with Hosted(tensors(), defence, GATE, f=0, journal=tmp_path) as one:
        fused(one, NAMES, answers())
        Decisions(tmp_path).append(Decision("quarantine", NAMES[1], "its site asked for it", "ada", 2))
        asked = one.ask(NAMES)
        assert asked == tuple(name for name in NAMES if name != "c1")
        record = one.fuse(answers()).record
        assert record.watch["barred"] == ["c1"]
        assert "c1" not in {v.client for v in record.verdicts}
        assert [t["after"] for t in record.watch["transitions"]] == ["quarantined"]
    with Hosted(tensors(), defence, GATE, f=0, journal=tmp_path) as two:
        assert "c1" not in two.ask(NAMES)
        two.fuse(answers())
        assert "c1" in two.ask(NAMES)
