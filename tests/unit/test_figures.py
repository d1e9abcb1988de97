"""Figures: well-formed, deterministic, and drawn to scale."""

import xml.etree.ElementTree as ElementTree

import pytest

from slimline.params import TARGETS
from slimline.report.figures import bar_figure, histogram_figure, line_figure
from slimline.report.labels import place_labels
from slimline.report.lineage import Node, lineage_figure
from slimline.report.pareto import SHAPES, Levels, Point, axis_name, axis_text, frontier, pareto_figure, upwards
from slimline.report.svg import Scale, scale

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<b>&"layer'


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in parsed(svg).iter(f"{SVG}text")]


def test_bars_are_as_long_as_their_values() -> None:
    svg = bar_figure(["a", HOSTILE, "c"], [1.0, 2.0, -1.0], x_label="layer", y_label="drop")
    widths = [float(bar.attrib["width"]) for bar in parsed(svg).iter(f"{SVG}rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert widths[2] == pytest.approx(widths[0], abs=0.2)
    assert HOSTILE in texts(svg)


def test_a_bar_without_a_value_is_a_dash() -> None:
    svg = bar_figure(["a", "b"], [None, 1.0], x_label="layer", y_label="drop")
    assert len(list(parsed(svg).iter(f"{SVG}rect"))) == 1
    assert "–" in texts(svg)


def test_a_line_passes_through_its_points_and_is_named() -> None:
    svg = line_figure({"train": [(0, 0.0), (5, 0.5), (10, 1.0)], "validation": [(0, 0.1)]}, x_label="epoch", y_label="accuracy")
    first = next(parsed(svg).iter(f"{SVG}polyline")).attrib["points"].split()
    (left, bottom), (middle, half), (right, top) = [tuple(map(float, pair.split(","))) for pair in first]
    assert middle == pytest.approx((left + right) / 2, abs=0.2)
    assert half == pytest.approx((bottom + top) / 2, abs=0.2)
    assert {"train", "validation", "epoch", "accuracy"} <= set(texts(svg))


def test_a_histogram_needs_one_edge_more_than_counts() -> None:
    svg = histogram_figure([0, 1, 2, 3], [4, 0, 2], x_label="activation")
    assert len(list(parsed(svg).iter(f"{SVG}rect"))) == 2
    with pytest.raises(ValueError, match="3 counts needs 4 edges, got 3"):
        histogram_figure([0, 1, 2], [4, 0, 2], x_label="activation")


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0], [-3.0, -3.0], [1e-9, 1e9]])
def test_scales_stand_flat_and_wide_ranges(values: list[float]) -> None:
    found = scale(values, (0.0, 100.0))
    assert all(0 <= found(value) <= 100 for value in values)
    assert len(found.ticks()) >= 2


def test_a_log_scale_puts_factors_at_equal_distances() -> None:
    log = Scale((1.0, 100.0), (0.0, 200.0), log=True)
    assert log(10.0) == pytest.approx(100.0)
    assert log.ticks() == (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def test_whole_values_get_whole_ticks() -> None:
    assert scale([1, 12], (0.0, 100.0)).ticks() == (5.0, 10.0)
    assert scale([1, 3], (0.0, 100.0)).ticks() == (1.0, 2.0, 3.0)
    assert 2.5 in scale([0.5, 11.0], (0.0, 100.0)).ticks()


@pytest.mark.parametrize("empty", [bar_figure([], [], x_label="layer", y_label="drop"), line_figure({}, x_label="epoch", y_label="loss")])
def test_nothing_to_draw_is_said(empty: str) -> None:
    assert texts(empty)[0].startswith("no ")


def test_the_frontier_leaves_out_what_is_beaten() -> None:
    cheap, beaten, dear = Point("a", "t", "accept", 1, 0.9), Point("b", "t", "accept", 2, 0.8), Point("c", "t", "reject", 3, 0.95)
    assert frontier([dear, beaten, cheap]) == (cheap, dear)


def test_pareto_says_each_name_once_and_is_deterministic() -> None:
    points = [
        Point(f"variant-{index // 2}", ("onnxruntime", "openvino")[index % 2], verdict, 10 + index, 0.98, (10, 12 + index), (0.97, 0.99))
        for index, verdict in enumerate(("accept", "accept", "reject", "reject", "inconclusive", "inconclusive"))
    ]
    levels = Levels(Point("teacher", "eager", "", 40, 0.985), 0.975)
    svg = pareto_figure(points, levels, x_label="size", y_label="accuracy")
    assert svg == pareto_figure(points, levels, x_label="size", y_label="accuracy")
    for name in ("variant-0", "variant-1", "variant-2", "teacher", "accept", "reject", "inconclusive", "onnxruntime", "openvino"):
        assert texts(svg).count(name) == 1


def test_a_deployed_baseline_is_named_once() -> None:
    deployed, other = Point("teacher", "eager", "accept", 41, 0.985), Point("int8", "eager", "accept", 10, 0.98)
    svg = pareto_figure([deployed, other], Levels(Point("teacher", "eager", "", 40, 0.985), 0.975), x_label="size", y_label="accuracy")
    assert texts(svg).count("teacher") == 1


def test_each_target_has_a_shape_of_its_own() -> None:
    points = [Point("int8", target, "accept", 10 + index, 0.98) for index, target in enumerate(TARGETS)]
    svg = pareto_figure(points, Levels(), x_label="size", y_label="accuracy")
    assert len(set(SHAPES)) == len(SHAPES) >= len(TARGETS)
    assert {len(node.attrib["points"].split()) for node in parsed(svg).iter(f"{SVG}polygon")} == {3, 4, 6}


def test_labels_do_not_cover_each_other() -> None:
    anchors = [(f"name-{index}", 300.0 + 3 * index, 200.0) for index in range(8)]
    _, names = place_labels(anchors, [], [], (0.0, 0.0, 800.0, 400.0))
    boxes = [(float(node.attrib["x"]), float(node.attrib["y"])) for node in map(ElementTree.fromstring, names)]
    assert all(abs(a[0] - b[0]) >= 46 or abs(a[1] - b[1]) >= 15 for i, a in enumerate(boxes) for b in boxes[:i])


def test_lineage_joins_every_variant_to_its_source() -> None:
    nodes = [
        Node("teacher", None, "baseline", "6 MB", None),
        Node("small", "teacher", "distill: soft_targets", "25x", "accept"),
        Node(HOSTILE, "small", "quantize: static", "130x", "reject"),
        Node("int8", "teacher", "quantize: static", "4x", "inconclusive"),
    ]
    svg = lineage_figure(nodes)
    assert len(list(parsed(svg).iter(f"{SVG}path"))) == 3
    assert {"teacher", "small", HOSTILE, "int8"} <= set(texts(svg))


def test_an_error_is_drawn_from_more_to_less_and_read_by_its_own_sign() -> None:
    worse, better = ({"better": "lower", "value": value, "ci": (value - 1, value + 1)} for value in (1950.25, 1850.25))
    assert upwards(worse) == (-1950.25, (-1951.25, -1949.25))
    points = [Point(name, "onnxruntime", "accept", 40.0, upwards(one)[0]) for name, one in (("worse", worse), ("better", better))]
    assert [point.name for point in frontier(points)] == ["better"]
    assert upwards({"better": "higher", "value": 0.9, "ci": (0.8, 1.0)}) == (0.9, (0.8, 1.0))
    assert (axis_text(-1850.25, "yrs_married"), axis_name("mean_absolute_error", "yrs_married")) == (
        "1850",
        "mean_absolute_error (yrs_married)",
    )
    assert (axis_text(0.985, "fraction"), axis_name("accuracy", "fraction")) == ("98.5 %", "accuracy")


def test_a_key_may_call_verdicts_otherwise() -> None:
    points = [Point("a", "onnxruntime", "accept", 1.0, 2.0), Point("b", "onnxruntime", "peer", 2.0, 1.0)]
    svg = pareto_figure(points, Levels(), x_label="bytes", y_label="accuracy", words={"accept": "ours", "peer": "a peer's"})
    drawn = "".join(ElementTree.fromstring(svg).itertext())
    assert "ours" in drawn
    assert "a peer's" in drawn
    assert "accept" not in drawn
