"""Every parser, whatever it is given: a value or an error of ours, in bounded memory."""

import functools
import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfort.core.seal import Opened
from ringfort.testing.parsers import PARSERS, check_parser, seeds, stopped_round

SEALS = [name for name in PARSERS if name.startswith("seal-")]


@functools.cache
def parser(name):
    return PARSERS[name]()


@functools.cache
def good(name):
    """Well-formed inputs: those of the fuzzer's corpus."""
    spec = importlib.util.spec_from_file_location("fuzz_corpus", Path(__file__).parents[2] / "benchmarks" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [*seeds(name), *module.vectors(name)] or [b"{}"]


def altered(name):
    """A well-formed input with a stretch of it replaced, or cut out, or anything put in."""

    def alter(data, start, length, more):
        at = int(start * len(data))
        return data[:at] + more + data[at + length :]

    more = st.one_of(st.binary(max_size=16), st.sampled_from([b"\n", b"null", b"1e999", b'"', b"\xff" * 8, b"[[[["]))
    return st.builds(alter, st.sampled_from(good(name)), st.floats(0, 1), st.integers(0, 40), more)


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_gives_a_value_or_an_error_of_ours_and_takes_little_memory(name):
    parse = parser(name)

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(st.one_of(st.binary(max_size=300), altered(name)))
    def hold(data):
        check_parser(parse, data, memory=True)

    hold()


@pytest.mark.parametrize(
    "name", [name for name in PARSERS if name not in ("request", "grant", "letter", "opening", "ciphertext")]
)
def test_the_corpus_reaches_the_end_of_the_parser(name):
    """A property of refusals alone would hold for a parser that refuses everything."""
    taken = sum(_taken(parser(name), data) for data in good(name))
    assert taken or name == "registry", f"none of {len(good(name))} inputs is taken"


def _taken(parse, data):
    return check_parser(parse, data)


@pytest.mark.parametrize("name", SEALS)
def test_every_true_message_of_a_sealed_round_is_taken_by_whoever_hears_it(name):
    """Still after forged ones: each try begins where the honest round was."""
    stopped, parse = stopped_round(name), parser(name)
    for point in stopped.points:
        check_parser(parse, bytes([stopped.points.index(point), 0, 0]) + b"forged")
        stopped.hand(point, point.message.raw, on=False)
    assert isinstance(stopped.hand(stopped.points[0], stopped.points[0].message.raw, on=True), Opened)


@pytest.mark.parametrize("name", SEALS)
def test_what_a_sealed_round_says_is_taken_apart_down_to_what_somebody_signed_or_sealed(name):
    """Else bytes that a fuzzer alters would die at a signature."""
    stopped = stopped_round(name)
    for point in stopped.points:
        for path in point.paths:
            part = point.message.at(path)
            assert part.parts or b"RFE1" not in part.raw
            assert point.message.altered(path, lambda part: part.raw) == point.message.raw
    assert any("box" in path for point in stopped.points for path in point.paths)


def test_a_parser_that_takes_too_much_memory_is_caught():
    with pytest.raises(AssertionError, match="bytes of memory"):
        check_parser(lambda data: bytearray(1 << 26), b"x", memory=True)


def test_a_parser_that_lets_another_error_out_is_caught():
    with pytest.raises(KeyError):
        check_parser(lambda data: {}[data], b"x")
