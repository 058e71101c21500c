"""Features on grids of many sizes, dense and hashed."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from neurfield.fields import HashGrid

ANISOTROPIC = {1: (9,), 2: (5, 9), 3: (4, 7, 5)}


def grid(finest, **options):
    """Return a grid of doubles with features of about one."""
    made = HashGrid(finest, 1, 4, 2, **options).double()
    with torch.no_grad():
        made.table.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    return made


def points(d, n_points=50):
    inside = np.random.default_rng(0).uniform(-1, 1, (n_points, d))
    return np.concatenate([inside, list(product((-1.0, 1.0), repeat=d)), np.zeros((1, d))])


@pytest.mark.parametrize("d", ANISOTROPIC)
def test_dense_levels_are_linear_interpolation_on_their_grid(d):
    made = grid(ANISOTROPIC[d], coarsest=(2,) * d, n_levels=3, n_features=2)
    assert made.n_dense == 3
    x, start, expected = points(d), 0, []
    for cells in made.sizes.tolist():
        n_nodes = math.prod(n + 1 for n in cells)
        values = made.table[start : start + n_nodes].detach().numpy()
        axes = [np.linspace(-1, 1, n + 1) for n in cells]
        values = values.reshape(*(n + 1 for n in cells), 2)
        expected.append(RegularGridInterpolator(axes, values)(x))
        start += n_nodes
    found = made.features(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=0, atol=1e-12)


def hash_of(node, size):
    """Return the published hash: products of 32 bits, mixed by exclusive or."""
    mixed = 0
    for position, prime in zip(node, (1, 2654435761, 805459861), strict=False):
        mixed ^= position * prime % 2**32
    return mixed % size


def test_hashes_are_those_computed_by_hand():
    assert hash_of((3, 5, 2), 16) == 12
    made = grid((9, 9, 9), coarsest=(9, 9, 9), n_levels=1, table_size=16)
    assert made.n_dense == 0
    # 5 · 2654435761 - 3 · 2³² = 387276917, 2 · 805459861 = 1610919722; the last four bits of
    # 3, 387276917 and 1610919722 are 0011, 0101 and 1010.
    assert int(made.entries(torch.tensor([[[[3, 5, 2]]]]))) == 0b0011 ^ 0b0101 ^ 0b1010 == 12


@pytest.mark.parametrize("d", ANISOTROPIC)
@pytest.mark.parametrize("table_size", [7, 8])
def test_hashed_levels_interpolate_the_entries_of_their_nodes(d, table_size):
    made = grid((9,) * d, coarsest=(9,) * d, n_levels=1, n_features=3, table_size=table_size)
    assert made.n_dense == 0
    assert len(made.table) == table_size
    nodes = list(product(range(10), repeat=d))
    values = made.table.detach().numpy()[[hash_of(node, table_size) for node in nodes]]
    axes = [np.linspace(-1, 1, 10)] * d
    expected = RegularGridInterpolator(axes, values.reshape(*[10] * d, 3))(points(d))
    found = made.features(torch.tensor(points(d))).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_dense_and_hashed_levels_stand_side_by_side():
    made = grid((8, 8), coarsest=(2, 2), n_levels=3, table_size=30)
    assert (made.n_dense, made.sizes.tolist()) == (2, [[2, 2], [4, 4], [8, 8]])
    node = torch.tensor([1, 2])
    rows = made.entries(node.expand(1, 3, 1, 2)).flatten().tolist()
    assert rows == [1 * 3 + 2, 9 + 1 * 5 + 2, 9 + 25 + hash_of((1, 2), 30)]


def test_beyond_the_extent_stands_what_stands_at_its_edge():
    made = grid((6, 6), n_levels=2)
    outside, edge = torch.tensor([[-1.5, 0.3], [0.2, 4.0]]), torch.tensor([[-1, 0.3], [0.2, 1.0]])
    torch.testing.assert_close(made.features(outside.double()), made.features(edge.double()))


@pytest.mark.parametrize(
    ("finest", "options", "message"),
    [
        ((4,) * 4, {}, "finest must have one to three axes"),
        ((4, 0), {}, "finest must be at least 1, got 0"),
        ((4, 4), {"table_size": 0}, "table_size must be at least 1, got 0"),
        ((4, 4), {"n_levels": 0}, "n_levels must be at least 1, got 0"),
        ((4, 4), {"coarsest": (2,)}, "coarsest must have the 2 axes of finest"),
        ((4, 4), {"coarsest": (2, 5)}, r"coarsest must not exceed finest, which is \(4, 4\)"),
        ((4, 4), {"n_layers": 1}, "n_layers must be at least 2"),
    ],
)
def test_sizes_that_make_no_grid_are_refused(finest, options, message):
    with pytest.raises(ValueError, match=message):
        HashGrid(finest, 1, **options)
