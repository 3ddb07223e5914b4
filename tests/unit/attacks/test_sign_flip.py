import numpy as np
import pytest

from ringfort.attacks import AttackerView, Control, Knowledge, SignFlip, ThreatModel
from ringfort.core.errors import InvalidValue, NotGranted, explain
from ringfort.core.randomness import Seeds

RNG = Seeds(0).child("attack")
OWN = np.array([[1, -2, 0], [0.5, 3, -0.25]], dtype=np.float32)
GLOBAL = np.array([7, 8, 9], dtype=np.float32)
HONEST = np.array([[4, 4, 4], [5, 5, 5], [6, 6, 6]], dtype=np.float32)


def view(knows):
    threat = ThreatModel("harm", knows, Control.UPDATES, True)
    return AttackerView(threat, 3, GLOBAL, OWN, HONEST)


def test_sign_flip_sends_its_own_update_reversed_and_scaled_exactly():
    sent = SignFlip(scale=4.0).craft(view(SignFlip.threat.knows), RNG)
    assert sent.dtype == np.float32
    assert sent.tolist() == [[-4, 8, 0], [-2, -12, 1]]
    assert OWN[0].tolist() == [1, -2, 0]


def test_sign_flip_at_n_minus_k_over_k_cancels_the_mean():
    n, k = 10, 2
    sent = SignFlip(scale=(n - k) / k).craft(view(SignFlip.threat.knows), RNG)
    assert not (sent.sum(axis=0) + (n - k) / k * OWN.sum(axis=0)).any()


def test_sign_flip_measures_nothing_of_its_own():
    assert SignFlip(scale=1.0).success(lambda inputs: inputs, None) is None
    assert SignFlip.metric == ""


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), True, "4", None])
def test_sign_flip_needs_a_finite_scale_above_zero(scale):
    with pytest.raises(InvalidValue, match="scale must be"):
        SignFlip(scale=scale)


def test_sign_flip_has_no_default_scale():
    with pytest.raises(TypeError, match="scale"):
        SignFlip()


GRANTS = {
    "global_model": (Knowledge.GLOBAL_MODEL, GLOBAL),
    "own_updates": (Knowledge.OWN_UPDATES, OWN),
    "honest_updates": (Knowledge.HONEST_UPDATES, HONEST),
}


@pytest.mark.parametrize("name", GRANTS)
def test_an_attacker_sees_what_is_granted(name):
    flag, value = GRANTS[name]
    assert getattr(view(flag), name) is value


@pytest.mark.parametrize("name", GRANTS)
def test_an_attacker_that_reaches_for_more_is_refused_with_rf108(name):
    everything_else = Knowledge.OWN_DATA
    for other, (flag, _) in GRANTS.items():
        if other != name:
            everything_else |= flag
    with pytest.raises(NotGranted, match=f"RF108 .* does not grant {name.replace('_', ' ')}"):
        getattr(view(everything_else), name)
    assert "threat model" in explain("RF108").what


def test_threat_models_speak_in_words():
    assert SignFlip.threat.knows.words() == ("own data", "global model", "own updates")
    assert (Control.DATA | Control.UPDATES).words() == ("data", "updates")
    assert Knowledge(0).words() == ()


def test_sign_flip_is_not_granted_what_others_send():
    assert Knowledge.HONEST_UPDATES not in SignFlip.threat.knows
    assert SignFlip.threat.controls == Control.UPDATES
    assert not SignFlip.threat.colludes
