"""What the study of landed presents counts and draws."""

import numpy as np
from sloping_street import GRID, sloping_window

from studies.landed_present import MISSED_RGB, WRONG_RGB, compared, told


def test_what_may_move_and_what_lies_beyond_do_not_count():
    window = sloping_window(1)
    truth = window.truth[-1]
    truth.labels[:5] = 4
    counts = told(window, truth, GRID, within=False)
    assert not counts[truth.flat[:5]].any() and counts.sum() == GRID.num_voxels - 5
    assert told(window, truth, GRID, within=True).sum() < counts.sum()


def test_columns_are_coloured_by_what_is_wrong_with_them():
    filled, true = np.zeros((2, 2, 2, 4), dtype=bool)
    filled[0, 0, 3] = true[0, 0, 3] = filled[0, 1, 0] = true[1, 0, 0] = True
    image = compared(filled, true)
    assert image[0, 0].tolist() == [1, 1, 1] and image[1, 1].tolist() == [0, 0, 0]
    assert tuple(image[0, 1]) == WRONG_RGB and tuple(image[1, 0]) == MISSED_RGB
