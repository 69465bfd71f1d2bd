"""Labels keep clear of each other, of the points and of the frame."""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from ntpscore.study.paper.point_labels import label_points, settle_layout

NAMES = ["intent", "clickbait", "sst2", "banking77", "bias", "emotion", "sms_spam", "medical",
         "rotten_tomatoes", "commonsense_qa", "climate", "imdb"]  # fmt: skip


def panel(x: np.ndarray, y: np.ndarray) -> Axes:
    figure = Figure(figsize=(3.4, 3.1), layout="constrained")
    ax = figure.subplots()
    ax.plot(x, y, "o", markersize=4)
    ax.margins(0.16)
    settle_layout(figure)
    return ax


def box(label: Annotation) -> Bbox:
    """Of the text alone, without the line that leads to the point; of a figure that was drawn."""
    return Text.get_window_extent(label)


def assert_apart(labels: list[Annotation]) -> None:
    labels[0].get_figure(root=True).draw_without_rendering()
    for one, other in combinations(labels, 2):
        assert not box(one).overlaps(box(other)), (one.get_text(), other.get_text())


def test_labels_of_crowded_points_overlap_nothing() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        x, y = rng.normal(size=12), rng.normal(size=12)
        # Three points closer together than a label is high.
        x[:3], y[:3] = [0.50, 0.51, 0.52], [0.5, 0.5, 0.51]
        ax = panel(x, y)
        labels = label_points(ax, x, y, NAMES)
        assert [label.get_text() for label in labels] == NAMES
        assert_apart(labels)
        points = ax.transData.transform(np.column_stack([x, y]))
        frame = ax.get_window_extent()
        for label in labels:
            assert not any(box(label).contains(*point) for point in points)
            assert frame.containsx(box(label).x0)
            assert frame.containsx(box(label).x1)
            assert frame.containsy(box(label).y0)
            assert frame.containsy(box(label).y1)


def test_a_far_label_is_led_to_its_point_and_a_near_one_is_not() -> None:
    x = y = np.full(12, 0.5)
    labels = label_points(panel(x, y), x, y, NAMES)
    assert_apart(labels)
    led = [label.arrow_patch is not None for label in labels]
    assert not led[0]
    assert all(led[8:])
    assert {label.xy for label in labels} == {(0.5, 0.5)}


def test_labels_that_are_near_only_leave_out_names_without_room() -> None:
    x = y = np.full(12, 0.5)
    labels = label_points(panel(x, y), x, y, NAMES, near_only=True)
    assert 1 <= len(labels) < 12
    assert labels[0].get_text() == NAMES[0]
    assert_apart(labels)
    assert all(label.arrow_patch is None for label in labels)


def test_a_label_without_any_free_place_takes_the_one_that_hides_least() -> None:
    # Points a few pixels apart leave no gap as high as a label, but one to the right of them.
    x, y = (one.ravel() for one in np.meshgrid(np.linspace(0, 1, 8), np.linspace(0, 1, 8)))
    figure = Figure(figsize=(0.8, 0.8))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.plot(x, y, "o", markersize=4)
    settle_layout(figure)
    first, *_ = label_points(ax, x, y, ["a name", *[""] * (len(x) - 1)])
    assert first.get_text() == "a name"
    assert first.arrow_patch is not None
