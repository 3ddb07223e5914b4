import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfort.report import svg

EVIL = '<script>"&\x00\x1b[31m\u202e'


def texts(drawing, style):
    return [t for t in ET.fromstring(drawing).iter("text") if t.get("class") == style]  # noqa: S314


def chart(ends, **more):
    lines = [svg.Line(f"wall{i}", ((0.0, 0.1), (10.0, end)), style=i) for i, end in enumerate(ends)]
    return svg.line_chart("title", "description", lines, **more)


@given(st.lists(st.floats(0, 200), min_size=1, max_size=12))
def test_spread_keeps_its_distance_and_its_order(wanted):
    placed = svg.spread(wanted, 14, 0, 200)
    ordered = sorted(placed)
    assert all(b - a >= 14 - 1e-9 for a, b in pairwise(ordered))
    assert ordered[0] >= 0
    assert ordered[-1] <= 200 + 1e-9
    assert sorted(range(len(wanted)), key=lambda i: (wanted[i], i)) == sorted(
        range(len(wanted)), key=placed.__getitem__
    )


@pytest.mark.parametrize("ends", [[0.9] * 4, [0.0] * 5, [1.0] * 9, [0.5] * 30, [0.91, 0.9, 0.1, 0.11]])
def test_end_labels_never_overlap_and_stay_inside(ends):
    drawing = chart(ends)
    height = float(ET.fromstring(drawing).get("height"))  # noqa: S314
    y = sorted(float(t.get("y")) for t in texts(drawing, "end"))
    assert len(y) == len(ends)
    assert all(b - a >= 13.5 for a, b in pairwise(y))
    assert y[0] > 8
    assert y[-1] < height


def test_a_chart_names_itself_and_differs_without_colour():
    root = ET.fromstring(chart([0.1, 0.5, 0.9]))  # noqa: S314
    assert root.get("role") == "img"
    assert root.find("title").text == "title"
    assert root.find("desc").text == "description"
    dashes = [p.get("stroke-dasharray") for p in root.iter("path") if p.get("class").startswith("line")]
    assert len(set(dashes)) == 3


def test_no_nan_and_values_outside_are_clamped():
    lines = [svg.Line("a", ((0, math.nan), (1, 0.5), (2, 7.0), (math.inf, 0.1)))]
    drawings = [
        svg.line_chart("t", "d", lines),
        svg.heat_map("t", "d", ["r"], ["c", "d"], [[svg.Heat(math.nan, ""), svg.Heat(9.0, "9")]], kind="loss"),
        svg.bar(math.nan, top=0.0, title="t", mark=math.inf),
    ]
    for drawing in drawings:
        ET.fromstring(drawing)  # noqa: S314
        assert "nan" not in drawing
        assert "inf" not in drawing


@pytest.mark.parametrize("lines", [[], [svg.Line("a", ())], [svg.Line("a", ((3, 0.5),))]])
def test_little_or_no_data_is_still_a_picture(lines):
    drawing = svg.line_chart("t", "d", lines)
    assert ("no data" in drawing) == (not any(line.points for line in lines))
    ET.fromstring(drawing)  # noqa: S314


def test_axis_has_a_few_whole_rounds():
    for last in (1, 3, 10, 37, 100, 2500):
        drawing = svg.line_chart("t", "d", [svg.Line("a", ((0, 0.1), (last, 0.2)))])
        rounds = [t.text for t in texts(drawing, "tick") if t.text.isdigit()]
        assert 2 <= len(rounds) <= 5


def test_heat_map_writes_every_value_and_shrinks_when_long():
    cells = [[svg.Heat(0.5, f"{i}.{j}") for j in range(3)] for i in range(4)]
    drawing = svg.heat_map("t", "d", list("abcd"), list("xyz"), cells, kind="amount")
    assert [t.text for t in texts(drawing, "value")] == [f"{i}.{j}" for i in range(4) for j in range(3)]
    many = svg.heat_map("t", "d", ["r"] * 100, ["x"], [[svg.Heat(0.5, "5")]] * 100, kind="amount")
    assert not texts(many, "value")
    assert float(ET.fromstring(many).get("height")) < 800  # noqa: S314


def test_hostile_text_stays_text():
    drawings = [
        svg.line_chart(EVIL, EVIL, [svg.Line(EVIL, ((0, 0.5), (1, 0.5)))]),
        svg.heat_map(EVIL, EVIL, [EVIL], [EVIL], [[svg.Heat(0.1, EVIL)]], kind="loss"),
        svg.bar(0.5, top=1.0, title=EVIL),
    ]
    for drawing in drawings:
        tags = {element.tag for element in ET.fromstring(drawing).iter()}  # noqa: S314
        assert tags <= {"svg", "title", "desc", "path", "text", "rect"}
        assert not {"\x00", "\x1b", "\u202e"} & set(drawing)
