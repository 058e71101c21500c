"""Real signals from measurements, beside classical methods: figures of the benchmark, in short."""

import pytest
from real_measurements import hippocampus, tooth_projections

pytestmark = pytest.mark.slow


def test_thick_slices_are_made_thin_better_than_by_cubic_splines(shared_data):
    found = {method: figure for method, figure, _ in hippocampus(shared_data, n_steps=60)}
    assert found["ours"] > found["cubic"] + 0.3


def test_the_axis_of_rotation_is_found(shared_data):
    # Both slices have it at 295.5 of 640 elements, and half of what is symmetric about it is kept.
    assert tooth_projections(shared_data).shape == (2, 181, 295)
