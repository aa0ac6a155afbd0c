"""The figure of quality against compute: nothing alike, nothing clipped, nothing on top of another."""

import io
from itertools import pairwise

import pytest
from harness_world import record
from matplotlib.figure import Figure
from PIL import Image

from repro.harness.schema import RecordSet
from repro.kinds.scores.figure import (
    NO_PANEL,
    Ceiling,
    ComputeData,
    Panel,
    Point,
    _compute_figure,
    _places,
    _styles,
    compute_data,
    draw_compute,
)
from repro.profiles import mini
from repro.table2 import TABLE as TABLE2
from repro.table2_extended import EXTENDED
from repro.table4 import TABLE as TABLE4


def point(label: str, steps: int, compute: float, *, teacher: bool = False) -> Point:
    return Point(label, teacher, steps, compute, 0.5, 0.4, 0.6)


def drawn(points: tuple[Point, ...], panels: int = 3) -> Figure:
    return _compute_figure(ComputeData(panels, tuple(Panel(f"set {i}", "PS", points) for i in range(panels))))


MINI = (
    point("Teacher", 28, 14_336, teacher=True),
    point("Teacher", 4, 2_048, teacher=True),
    *(point(label, 4, 1_024) for label in ("LCM", "DMD2", "DMD2 + PDM")),
    point("SwD", 6, 616),
    point("SwD", 4, 564),
)
SYSTEMS = tuple(
    point(row.label, row.system.steps, 1_000.0 * 2**place)
    for place, row in enumerate(TABLE4.rows_in("sd35-medium"))
    if row.system is not None
)


@pytest.mark.parametrize("points", [MINI, SYSTEMS])
def test_no_two_curves_look_alike(points: tuple[Point, ...]) -> None:
    styles = _styles(points)
    assert set(styles) == {point.name for point in points}
    assert len(set(styles.values())) == len(styles)


def test_two_teachers_differ_in_colour_and_line() -> None:
    first, second = (style for name, style in _styles(MINI).items() if name.startswith("Teacher"))
    assert first.colour != second.colour
    assert first.line != second.line


@pytest.mark.parametrize("points", [MINI, SYSTEMS])
@pytest.mark.parametrize("panels", [1, 3, 4])
def test_the_legend_is_within_the_figure_and_above_the_panels(points: tuple[Point, ...], panels: int) -> None:
    figure = drawn(points, panels)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
    assert box.y1 <= whole.y1
    assert all(axis.title.get_window_extent().y1 <= box.y0 for axis in figure.axes)


def test_points_of_equal_compute_stand_side_by_side_around_it() -> None:
    places = _places([found for found in MINI if not found.teacher])
    alike = sorted(places[found] for found in MINI if found.compute == 1_024)
    assert len(set(alike)) == 3
    assert alike[1] == pytest.approx(1_024)
    assert alike[0] * alike[2] == pytest.approx(1_024**2)
    assert places[MINI[-1]] == 564


def test_labels_of_the_axis_do_not_touch() -> None:
    crowded = (*(point("Full-scale", steps, 512 * steps) for steps in (1, 2, 3)), point("SwD", 4, 564))
    figure = drawn(crowded)
    figure.draw_without_rendering()
    labels = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(labels) >= 2
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))


def test_a_ceiling_is_a_dotted_line_of_its_own_across_the_panel() -> None:
    ceiling = Ceiling("Real scenes through the VAE", 0.97)
    figure = _compute_figure(ComputeData(1, (Panel("set", "score", MINI, ceiling),)))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == ceiling.label]
    assert set(line.get_ydata()) == {0.97}
    assert ceiling.label in {text.get_text() for text in figure.legends[0].get_texts()}
    below, above = figure.axes[0].get_ylim()
    assert below < 0.97 < above


def test_a_set_without_a_metric_leaves_its_place_empty() -> None:
    panels = (Panel("short", "score", MINI), Panel("short", "spread", MINI), Panel("long", "score", MINI), NO_PANEL)
    figure = _compute_figure(ComputeData(2, panels))
    figure.draw_without_rendering()
    assert [axis.axison for axis in figure.axes] == [True, True, True, False]
    assert [bool(axis.get_xlabel()) for axis in figure.axes] == [False, True, True, False]
    assert figure.axes[1].xaxis.get_ticklabels()[0].get_visible()


def test_panels_and_ceilings_come_from_the_records() -> None:
    """Placement is of short captions alone; the real images through the VAE have no compute and are the ceiling."""
    made = [
        *(record("teacher", "", "tokens", 512), record("real_decoded", "short", "scene_score", 0.97)),
        *(record("teacher", prompts, "scene_score", 0.8) for prompts in ("short", "compositional")),
    ]
    data = compute_data(TABLE2, mini.PROFILE, RecordSet.of(made))
    assert data.columns == 4
    assert [panel.title for panel in data.panels] == ["Short captions"] * 4 + ["Compositional captions"] * 3 + [""]
    assert data.panels[0].ceiling == Ceiling("Real scenes through the VAE", 0.97)
    assert data.panels[4].ceiling is None
    assert [point.label for point in data.panels[0].points] == ["Teacher"]


def test_teachers_that_grow_stand_at_what_they_cost() -> None:
    """The profile's own teacher stays a line, and so do all teachers of a table in which none grows."""
    cost = {"teacher": 28_672, "teacher_grow_2": 16_384, "teacher_16": 16_384, "teacher_4": 4_096, "scalewise_4": 2_000}
    made = [
        line
        for row, tokens in cost.items()
        for line in (record(row, "short", "tokens", tokens), record(row, "short", "scene_score", 0.8))
    ]
    data = compute_data(EXTENDED, mini.PROFILE, RecordSet.of(made))
    lines = {point.label: point.teacher for point in data.panels[0].points}
    assert lines == {
        "Teacher": True,
        "Teacher, grown from 1/2": False,
        "Teacher, fewer steps": False,
        "Scale-wise": False,
    }
    assert all(point.teacher for point in compute_data(TABLE4, mini.PROFILE, RecordSet.of(made)).panels[0].points[:2])
    figure = _compute_figure(data)
    places = {float(x) for line in figure.axes[0].lines for x in line.get_xdata()}
    assert any(abs(place / 16_384 - 1) < 0.2 for place in places)


def test_the_png_is_that_of_the_figure() -> None:
    with Image.open(io.BytesIO(draw_compute(ComputeData(1, (Panel("set", "PS", MINI),))))) as image:
        assert image.size[0] == 310
        assert image.text["Digest"]
