"""Groups: drawn by everybody alike, kept for an epoch, opened one by one, left out whole."""

from dataclasses import replace

import numpy as np
import pytest

from ringfort.core.envelope import seal_envelope
from ringfort.core.errors import BadSignature, BelowFloor, Incompatible, InvalidValue, TooFewAlive, UnknownClient
from ringfort.core.keys import Directory
from ringfort.core.seal import COORDINATOR, Contribution, SealedRound
from ringfort.core.values import client_id
from ringfort.core.views import Rows
from ringfort.secagg.grouped import Grouped, groups_of
from ringfort.secagg.masked.messages import SHARES, Terms
from ringfort.secagg.roster import pack
from ringfort.testing.sealed_round import Parties, mean_of, run_round

SEAL = Grouped(
    group_size=4, epoch_rounds=10, clip=1.0, bits=20, corrupt_fraction=0.1, dropout_fraction=0.25, min_group=3
)
NAMES = tuple(client_id(f"c{i:02d}") for i in range(13))
OF = SealedRound("run", 1, "ab" * 32, 8)


def directory(names=NAMES):
    return Directory({n: bytes([i]) * 32 for i, n in enumerate((*names, COORDINATOR))})


def given(names=NAMES):
    return {n: Contribution(np.full(OF.d, 0.01 * (i + 1), np.float32), 1) for i, n in enumerate(names)}


def means(opened, contributions):
    assert isinstance(opened.view, Rows)
    for row, name in zip(opened.view.matrix, opened.view.clients, strict=True):
        wanted = np.mean([contributions[member].delta[0] for member in opened.members[name]])
        assert np.allclose(row, wanted, atol=1e-5)


def test_everybody_is_in_one_group():
    groups = groups_of(SEAL, OF, directory())
    assert list(groups) == ["group-00", "group-01", "group-02"]
    assert sorted(name for members in groups.values() for name in members) == list(NAMES)
    assert sorted(map(len, groups.values())) == [4, 4, 5]


def test_groups_last_an_epoch():
    first = groups_of(SEAL, OF, directory())
    assert all(groups_of(SEAL, replace(OF, round=r), directory()) == first for r in range(1, 11))
    assert groups_of(SEAL, replace(OF, round=11), directory()) != first
    assert groups_of(SEAL, replace(OF, run="other"), directory()) != first
    assert groups_of(SEAL, replace(OF, model="cd" * 32), directory()) == first


def test_groups_are_evenly_drawn():
    """Whom a client meets over 2,000 epochs: chi-squared with 11 degrees of freedom, false alarm 1e-6 (bound 49)."""
    names, met = NAMES[:12], np.zeros(12)
    once = replace(SEAL, epoch_rounds=1)
    for number in range(1, 2001):
        groups = groups_of(once, replace(OF, round=number), directory(names))
        mine = next(members for members in groups.values() if names[0] in members)
        met += [name in mine for name in names]
    assert met[0] == 2000
    expected = 2000 * 3 / 11
    assert ((met[1:] - expected) ** 2 / (expected * (1 - 3 / 11))).sum() < 49


def test_frozen_groups():
    groups = groups_of(SEAL, OF, directory())
    assert groups == FROZEN


FROZEN = {
    "group-00": ("c01", "c03", "c05", "c06", "c07"),
    "group-01": ("c00", "c02", "c08", "c12"),
    "group-02": ("c04", "c09", "c10", "c11"),
}


def test_the_view_is_of_means():
    run = run_round(SEAL, given())
    assert run.opened.view.clients == ("group-00", "group-01", "group-02")
    assert run.opened.refusals == ()
    means(run.opened, given())


def test_a_group_that_loses_too_many_is_left_out_whole():
    groups = groups_of(SEAL, OF, directory())
    lost = set(groups["group-01"][:2])
    run = run_round(SEAL, given(), tamper=lambda m: None if m.party in lost and m.to_server else m.payload)
    assert run.opened.view.clients == ("group-00", "group-02")
    assert run.opened.members == {g: groups[g] for g in ("group-00", "group-02")}
    means(run.opened, given())


@pytest.mark.parametrize("stage", ["masked/shares", "masked/masked", "masked/consistency", "masked/unmask"])
def test_a_group_that_dies_on_the_way_is_left_out_whole(stage):
    lost = set(groups_of(SEAL, OF, directory())["group-02"])
    run = run_round(SEAL, given(), tamper=lambda m: None if m.party in lost and m.stage == stage else m.payload)
    assert run.opened.view.clients == ("group-00", "group-01")
    means(run.opened, given())


def test_no_group_is_left():
    run = run_round(SEAL, given(), tamper=lambda m: None if m.stage == "masked/masked" else m.payload)
    assert run.opened is None
    assert isinstance(run.abort, TooFewAlive)


def test_a_client_that_dropped_is_in_no_mean():
    gone = groups_of(SEAL, OF, directory())["group-00"][1]
    run = run_round(SEAL, given(), tamper=lambda m: None if m.party == gone and m.to_server else m.payload)
    assert gone not in run.opened.members["group-00"]
    assert len(run.opened.view.clients) == 3
    means(run.opened, given())


def test_a_client_answers_for_no_other_group():
    """The coordinator puts a client into a group with members of another, in well-formed messages that it signs."""
    parties = Parties.of(SEAL, NAMES)
    groups = groups_of(SEAL, OF, parties.directory)
    mine, other = groups["group-00"], groups["group-01"]
    begun = {n: parties.clients[n].begin(OF, c) for n, c in given().items()}
    mixed = (*mine[:2], *other[:2])
    hellos = {n: begun[n][1] for n in mixed}
    terms = Terms(OF, SEAL.inside, parties.directory.only((*mine, COORDINATOR)))
    said = seal_envelope(parties.keys[COORDINATOR], COORDINATOR, terms.slot(SHARES, terms.context), pack(hellos))
    with pytest.raises((UnknownClient, BadSignature)):
        begun[mine[0]][0].on_message(said)


def test_hellos_of_strangers_are_refused():
    parties = Parties.of(SEAL, NAMES)
    hellos = {n: parties.clients[n].begin(OF, c)[1] for n, c in given().items()}
    phase = parties.server.begin(OF, {**hellos, "mallory": hellos["c00"]}, mean_of)
    assert [(r.client, r.code) for r in phase.refusals] == [("mallory", "RF202")]


@pytest.mark.parametrize(
    ("n", "change", "error"),
    [
        (7, {}, BelowFloor),
        (8, {"dropout_fraction": 0.5}, Incompatible),
        (8, {"bits": 30}, Incompatible),
    ],
)
def test_what_cannot_be_grouped(n, change, error):
    SEAL.require(8, 8)
    with pytest.raises(error):
        replace(SEAL, **change).require(n, 8)


@pytest.mark.parametrize(
    "change", [{"group_size": 2}, {"epoch_rounds": 0}, {"min_group": 2}, {"min_group": 5}, {"clip": 0.0}]
)
def test_what_is_no_grouped_seal(change):
    with pytest.raises(InvalidValue):
        replace(SEAL, **change)


def test_too_few_are_enrolled():
    with pytest.raises(BelowFloor):
        groups_of(SEAL, OF, directory(NAMES[:3]))
