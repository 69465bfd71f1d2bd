"""What the figures have in common."""

import pytest

from ntpscore.study.paper.style import COLOURS, DASHES, MARKERS, grid_of, short_name


@pytest.mark.parametrize(
    ("panels", "grid"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 4)), (8, (2, 4)), (9, (3, 4))]
)
def test_panels_go_four_to_a_row(panels: int, grid: tuple[int, int]) -> None:
    assert grid_of(panels) == grid


def test_colours_tell_as_many_groups_apart_as_shapes_do_and_twelve_lines_differ() -> None:
    assert len(set(COLOURS)) == len(set(MARKERS)) == 7
    lines = {(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]) for i in range(12)}
    assert len(lines) == 12


def test_a_model_is_named_without_its_owner() -> None:
    assert short_name("lab/small") == short_name("small") == "small"
