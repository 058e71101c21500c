"""One lapped field for signals of any size and spacing: fit, latents, decoding, files."""

import pickle
import re

import dask.array
import numpy as np
import pytest
import xarray as xr
from conftest import REPOSITORY
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.fields import Lapped
from neurfield.plotting import plot_reconstruction
from neurfield.signals import read_signals
from neurfield.signals.base_grid import BaseGrid
from neurfield.volumes import decode_volumes

PER_CELL, LINE = 6, 3  # latents of a cell, of pictures and of curves


def pictures(n, *shape, seed=0):
    """Smooth noise with the same statistics everywhere, whatever the shape."""
    noise = np.random.default_rng(seed).standard_normal((n, *(size + 12 for size in shape)))
    smooth = 10 * gaussian_filter(noise, 1.2, axes=tuple(range(1, noise.ndim)))
    return smooth[(slice(None), *(slice(6, -6) for _ in shape))]


def curve(n, step=1.0, first=0.0, seed=0):
    """A curve with a spectrum, sampled at any spacing; the same function for one seed."""
    waves = np.random.default_rng(seed).standard_normal((6, 2))
    x = first + step * np.arange(n)
    periods = np.array([9.0, 12.0, 17.0, 23.0, 40.0, 71.0])[:, None]
    phase = 2 * np.pi * x / periods
    values = waves[:, 0] @ np.sin(phase) + waves[:, 1] @ np.cos(phase)
    attrs = {"units": "mV"}
    return xr.DataArray(values, {"x": ("x", x, {"units": "mm"})}, ("x",), attrs=attrs)


def encoder(n_cells, max_iter=8, pool=None, latents=PER_CELL, **options):
    field = Lapped(cell=4, hidden_dim=16, features=8, pool=pool)
    options = {"transform_steps": 2, "random_state": 0, "device": "cpu", **options}
    return FunctaEncoder(n_cells * latents, field=field, max_iter=max_iter, **options)


def psnr(found, values, peak):
    return 10 * np.log10(peak**2 / np.square(np.asarray(found) - values).mean())


@pytest.fixture(scope="module")
def on_crops():
    """Fitted on pictures of 16 × 16 samples, which have 4 × 4 cells."""
    return encoder(16).fit(pictures(80, 16, 16))


@pytest.fixture(scope="module")
def on_lines():
    """Fitted on curves of 32 mm at 1 mm, which have 8 cells."""
    return encoder(8, latents=LINE).fit([curve(32, seed=i) for i in range(40)])


def test_a_field_of_crops_describes_larger_pictures_as_well_as_its_own():
    of_crops = encoder(16, latents=2).fit(pictures(80, 16, 16))
    of_pictures = encoder(120, latents=2).fit(pictures(8, 48, 40))
    own, larger = pictures(12, 16, 16, seed=1), pictures(4, 48, 40, seed=2)
    of_own = psnr(of_crops.inverse_transform(of_crops.transform(own)), own, 20.0)
    found = [
        psnr(enc.inverse_transform(enc.transform(larger), grid=(48, 40)), larger, 20.0)
        for enc in (of_crops, of_pictures)
    ]
    assert of_own > 24.0
    assert abs(found[0] - of_own) < 1.0
    assert found[0] > found[1] - 1.0


def test_cells_keep_their_side(on_crops):
    assert on_crops.transform(pictures(2, 16, 16)).shape == (2, 16 * PER_CELL)
    assert on_crops.transform(pictures(2, 32, 32)).shape == (2, 64 * PER_CELL)
    assert on_crops.transform(pictures(2, 8, 6)).shape == (2, 4 * PER_CELL)


def test_arrays_of_another_size_come_back_on_their_indices(on_crops):
    X = pictures(3, 32, 24, seed=3)
    Z = on_crops.transform(X)
    found = on_crops.inverse_transform(Z, grid=(32, 24))
    assert isinstance(found, np.ndarray)
    assert found.shape == X.shape
    assert psnr(found, X, np.ptp(X)) > 30.0
    axes = {"y": np.arange(32), "x": np.arange(24)}
    labelled = on_crops.inverse_transform(Z, coords=axes)
    assert labelled.dims == ("sample", "y", "x")
    np.testing.assert_allclose(labelled, found, atol=1e-5)


def test_latents_of_the_size_of_fit_decode_anywhere_within_its_extent(on_crops):
    X = pictures(2, 16, 16, seed=4)
    Z = on_crops.transform(X)
    whole = on_crops.inverse_transform(Z)
    part = on_crops.inverse_transform(Z, coords={"y": [3.0, 4.0], "x": np.arange(5, 9)})
    np.testing.assert_allclose(part, whole[:, 3:5, 5:9], atol=1e-5)
    finer = on_crops.inverse_transform(Z, grid=(31, 31))
    np.testing.assert_allclose(finer[:, ::2, ::2], whole, atol=1e-5)


def test_a_list_of_unequal_pictures_makes_the_round_trip(on_crops):
    X = [pictures(1, *shape, seed=5)[0] for shape in [(16, 16), (21, 34), (3, 40), (16, 16)]]
    Z = on_crops.transform(X)
    assert [row.shape for row in Z] == [(96,), (6 * 9 * 6,), (60,), (96,)]
    back = on_crops.inverse_transform(Z, coords=X)
    assert [found.shape for found in back] == [values.shape for values in X]
    for found, values in zip(back, X, strict=True):
        assert psnr(found, values, on_crops.codec_.units.value_range[0]) > 30.0
    each = [on_crops.score([values]) for values in X]
    assert on_crops.score(X) == pytest.approx(np.mean(each), abs=1e-6)


def test_signals_are_described_as_if_there_were_no_others(on_crops):
    X = [pictures(1, *shape, seed=6)[0] for shape in [(20, 20), (16, 16), (24, 20), (20, 20)]]
    together = on_crops.transform(X)
    for values, row in zip(X, together, strict=True):
        np.testing.assert_allclose(on_crops.transform([values])[0], row, atol=1e-5)


def test_gaps_in_signals_of_another_size_are_filled(on_crops):
    (values,) = pictures(1, 30, 26, seed=7)
    holey = values.copy()
    holey[10:12, 8:10] = np.nan
    (back,) = on_crops.inverse_transform(on_crops.transform([holey]), coords=[holey])
    assert np.isfinite(back).all()
    assert np.abs(back - values)[10:12, 8:10].max() < 0.5 * np.ptp(values)


def test_volumes_of_unequal_size_with_channels():
    shapes = [(8, 9, 8), (8, 8, 12), (10, 8, 8), (6, 8, 7)]
    X = [
        np.stack([pictures(1, *s, seed=i + 50 * c)[0] for c in range(2)], axis=-1)
        for i in range(3)
        for s in shapes
    ]
    enc = encoder(3 * 3 * 3, max_iter=2, latents=2, channel_axis=-1).fit(X)
    Z = enc.transform(X[:4])
    counts = [2 * 3 * 2, 2 * 2 * 3, 3 * 2 * 2, 2 * 2 * 2]
    assert [len(row) for row in Z] == [n * 2 for n in counts]
    back = enc.inverse_transform(Z, coords=X[:4])
    assert [found.shape for found in back] == [values.shape for values in X[:4]]
    peak = enc.codec_.units.value_range
    assert all(
        psnr(found / peak, values / peak, 1.0) > 12.0
        for found, values in zip(back, X, strict=False)
    )


def test_fit_on_pictures_of_unequal_sizes():
    shapes = [(16, 16), (12, 20), (20, 9)]
    X = [pictures(1, *shapes[i % 3], seed=i)[0] for i in range(42)]
    enc = encoder(5 * 5).fit(X)
    alike = encoder(16).fit(pictures(42, 16, 16, seed=8))
    test = pictures(8, 16, 16, seed=9)
    # Signals that do not fill a crop teach about as much as those that do.
    assert enc.score(list(test)) > alike.score(test) - 1.0
    assert enc.codec_.base.shape == (20, 20)


def test_spacing_of_a_list_is_that_of_most(on_lines):
    lines = [curve(32), curve(63, 0.5), curve(40, first=7.0), curve(16, 2.0)]
    signals = read_signals(lines)
    base = BaseGrid.of_signals(signals, "X")
    assert base.shape == (40,)
    np.testing.assert_allclose(base.step, 1.0)
    regular = base.regular(signals)
    assert sorted(group.values.shape[1] for group in regular.groups) == [31, 32, 40]
    by_place = {int(p): g for g in regular.groups for p in g.positions}
    np.testing.assert_allclose(
        by_place[1].values[list(by_place[1].positions).index(1), :, 0], lines[0], atol=0.05
    )


def test_fit_on_signals_of_unequal_spacing(on_lines):
    lines = [curve(*[(32, 1.0), (63, 0.5), (32, 1.0, 100.0)][i % 3], seed=i) for i in range(45)]
    enc = encoder(8, latents=LINE).fit(lines)
    np.testing.assert_allclose(enc.codec_.base.step, 1.0)
    test = [curve(32, seed=90 + i) for i in range(8)]
    assert enc.score(test) > on_lines.score(test) - 2.0


def test_another_spacing_over_the_same_extent_gives_similar_latents(on_lines):
    for seed in range(90, 94):
        coarse, fine = curve(32, seed=seed), curve(63, 0.5, seed=seed)
        one, other = on_lines.transform([coarse, fine])
        assert one.shape == other.shape
        assert np.linalg.norm(one - other) < 0.1 * np.linalg.norm(one)
    assert on_lines.transform([curve(128, 0.5)]).shape == (1, 16 * LINE)


def test_where_a_signal_lies_does_not_matter(on_lines):
    line = curve(48, seed=91)
    moved = line.assign_coords(x=line["x"] + 1234.5)
    near, far = on_lines.transform([line, moved])
    np.testing.assert_allclose(near, far, atol=1e-4 * np.abs(near).max())
    back = on_lines.inverse_transform([near, far], coords=[line, moved])
    np.testing.assert_allclose(back[0].to_numpy(), back[1].to_numpy(), atol=1e-3)
    np.testing.assert_array_equal(back[1]["x"], moved["x"])
    assert back[1].attrs == line.attrs


def test_axes_that_descend_have_the_latents_of_those_that_ascend(on_lines):
    line = curve(48, seed=92)
    up, down = on_lines.transform([line, line[::-1]])
    np.testing.assert_allclose(up, down, atol=1e-5 * np.abs(up).max())
    downwards = encoder(8, latents=LINE).fit([curve(32, seed=i)[::-1] for i in range(40)])
    assert downwards.score([line]) == pytest.approx(on_lines.score([line]), abs=1e-3)


def test_unevenly_spaced_signals_are_encoded_and_cannot_be_learnt_from(on_lines):
    line = curve(97, 0.5, seed=93)
    uneven = line.isel(x=np.sort(np.random.default_rng(0).permutation(97)[:80]))
    back = on_lines.inverse_transform(on_lines.transform([uneven]), coords=[line])
    peak = on_lines.codec_.units.value_range[0]
    assert psnr(back[0].to_numpy(), line.to_numpy(), peak) > 25.0
    with pytest.raises(ValueError, match=re.escape("needs evenly spaced axes")):
        encoder(8, latents=LINE).fit([uneven, line])


def test_pooled_latents_are_as_long_for_every_size():
    X = [curve(n, seed=i) for i in range(10) for n in (32, 40)]
    enc = encoder(10, max_iter=5, pool="mean").fit(X)
    cells = encoder(10, max_iter=5).fit(X)
    Z = enc.transform([curve(24), curve(77)])
    assert Z.shape == (2, PER_CELL)
    assert len(enc.get_feature_names_out()) == PER_CELL
    (of_cells,) = cells.transform([curve(77)])
    np.testing.assert_allclose(Z[1], of_cells.reshape(-1, PER_CELL).mean(axis=0), atol=1e-6)
    with pytest.raises(ValueError, match=r"pooled over cells.*cannot be decoded.*pool=None"):
        enc.inverse_transform(Z)
    with pytest.raises(ValueError, match="cannot be decoded"):
        enc.inverse_transform(Z, coords=[curve(24), curve(77)])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({}, "latents of 99 numbers.*tell the size"),
        ({"grid": (20, 20)}, r"grid= is for signals of 5 × 5 cells of 6 latents, 150 in all"),
        ({"coords": {"y": np.arange(8), "x": np.arange(20)}}, r"coords= is for signals of 2 × 5"),
        ({"points": [[0.0, 0.0]]}, r"points= is for signals of 4 × 4 cells"),
        ({"coords": [np.zeros((20, 20))] * 2}, r"coords\[0\] is for signals of 5 × 5 cells"),
        ({"coords": [np.zeros((20, 20))]}, "one per latent: got 1 for 2"),
        ({"grid": (20,)}, "grid must give 2"),
        ({"grid": (20, 20), "points": [[0.0, 0.0]]}, "at most one of grid"),
    ],
)
def test_latents_that_do_not_fit_the_size_asked_for_are_refused(on_crops, where, message):
    with pytest.raises(ValueError, match=message):
        on_crops.inverse_transform(np.zeros((2, 99)), **where)


def test_latents_of_several_lengths_need_a_grid_each(on_crops):
    Z = [np.zeros(96), np.zeros(150)]
    with pytest.raises(ValueError, match="several lengths, 96 to 150: give coords="):
        on_crops.inverse_transform(Z)
    with pytest.raises(ValueError, match="several lengths"):
        on_crops.inverse_transform(Z, grid=(20, 20))
    with pytest.raises(ValueError, match=re.escape("X[1] must hold the latents of one signal")):
        on_crops.inverse_transform([np.zeros(96), np.zeros((2, 96))])
    with pytest.raises(ValueError, match=re.escape("X[1] contains NaN")):
        on_crops.inverse_transform([np.zeros(96), np.full(150, np.nan)])


def test_derivatives_of_unequal_signals(on_lines):
    lines = [curve(32, seed=95), curve(60, seed=96)]
    slopes = on_lines.inverse_transform(on_lines.transform(lines), coords=lines, derivative="x")
    for slope, line in zip(slopes, lines, strict=True):
        inside = slice(6, -6)
        expected = np.gradient(line.to_numpy(), 1.0)[inside]
        assert np.corrcoef(slope.to_numpy()[inside], expected)[0, 1] > 0.95
        assert slope.attrs["units"] == "mV/mm"


def test_saved_and_pickled_encoders_take_any_size(on_crops, tmp_path):
    X = [pictures(1, *shape, seed=10)[0] for shape in [(16, 16), (24, 18)]]
    on_crops.save(tmp_path / "field.nf")
    expected = on_crops.transform(X)
    loaded = FunctaEncoder.load(tmp_path / "field.nf")
    for other in (loaded, pickle.loads(pickle.dumps(on_crops))):
        for one, two in zip(expected, other.transform(X), strict=True):
            np.testing.assert_array_equal(one, two)
        back = other.inverse_transform(expected, coords=X)
        np.testing.assert_array_equal(back[1], on_crops.inverse_transform(expected, coords=X)[1])
    assert loaded.codec_.fingerprint == on_crops.codec_.fingerprint


def test_pooling_is_saved(tmp_path):
    enc = encoder(8, max_iter=2, pool="mean").fit([curve(32, seed=i) for i in range(8)])
    enc.save(tmp_path / "field.nf")
    line = [curve(50)]
    loaded = FunctaEncoder.load(tmp_path / "field.nf")
    np.testing.assert_array_equal(loaded.transform(line), enc.transform(line))


def test_training_goes_on_with_signals_of_other_sizes():
    enc = encoder(16, batch_size=16).partial_fit(pictures(32, 16, 16))
    before = enc.score(pictures(4, 16, 16, seed=11))
    enc.partial_fit([*pictures(16, 40, 12, seed=12), *pictures(16, 10, 16, seed=13)])
    assert enc.codec_.base.shape == (16, 16)
    assert enc.score(pictures(4, 16, 16, seed=11)) > before - 1.0
    warm = encoder(16, max_iter=2, warm_start=True).fit(pictures(16, 16, 16))
    warm.fit(pictures(16, 12, 20))
    assert warm.transform(pictures(1, 16, 16)).shape == (1, 96)


def test_early_stopping_measures_signals_of_unequal_sizes():
    X = [pictures(1, *s, seed=i)[0] for i in range(12) for s in [(16, 16), (12, 8)]]
    enc = encoder(16, max_iter=5, early_stopping=True).fit(X)
    assert len(enc.validation_curve_) > 0
    assert np.isfinite(enc.validation_curve_).all()


def test_lazy_signals_of_other_spacing_and_direction_are_put_on_that_of_most():
    line = curve(63, 0.5)
    lines = [curve(32), curve(32, seed=1), line.chunk(x=63), curve(32)[::-1].chunk(x=32)]
    signals = read_signals(lines)
    regular = BaseGrid.of_signals(signals, "X").regular(signals)
    found = {
        int(position): group.values[np.array([row])][0, :, 0]
        for group in regular.groups
        for row, position in enumerate(group.positions)
    }
    np.testing.assert_allclose(found[2], line[::2], atol=1e-5)
    np.testing.assert_allclose(found[3], lines[0], atol=1e-5)


def test_a_signal_of_another_size_is_drawn(on_crops):
    X = pictures(2, 24, 20)
    panels = plot_reconstruction(on_crops, X, index=1)
    assert panels[1].get_title() == f"decoded, {on_crops.score(X[1:]):.1f} dB"


def test_dask_arrays_of_another_size_stay_lazy(on_lines):
    values = np.stack([curve(48, seed=i).to_numpy() for i in range(6)])
    lazy = xr.DataArray(
        dask.array.from_array(values, chunks=(2, -1)), {"x": np.arange(48.0)}, ("sample", "x")
    )
    Z = on_lines.transform(lazy)
    assert Z.chunks is not None
    assert Z.shape == (6, 12 * LINE)
    np.testing.assert_allclose(Z.compute(), on_lines.transform(lazy.compute()), atol=1e-5)


def test_tables_have_names_for_the_latents_of_fit_only(on_crops):
    named = pickle.loads(pickle.dumps(on_crops)).set_output(transform="pandas")
    assert named.transform(pictures(2, 16, 16)).shape == (2, 96)
    with pytest.raises(ValueError, match="output as pandas needs signals of the size of fit"):
        named.transform(pictures(2, 32, 32))


@pytest.mark.parametrize("name", ["isotropic", "patch_size"])
def test_options_that_cells_make_useless_are_refused(name):
    value = True if name == "isotropic" else 8
    with pytest.raises(ValueError, match=f"{name}={value} cannot be used with field='lapped'"):
        encoder(16, **{name: value}).fit(pictures(4, 16, 16))


def test_tables_of_curves_of_another_length():
    X = gaussian_filter1d(np.random.default_rng(0).standard_normal((40, 32)), 2.0, axis=1)
    enc = encoder(8, max_iter=5).fit(X)
    longer = gaussian_filter1d(np.random.default_rng(1).standard_normal((3, 50)), 2.0, axis=1)
    with pytest.raises(ValueError, match=r"50 features.* 32 features"):
        enc.transform(longer)  # a table has the columns of fit
    Z = enc.transform(xr.DataArray(longer, dims=("sample", "x")))
    assert Z.shape == (3, 13 * PER_CELL)
    assert enc.inverse_transform(Z, grid=(50,)).shape == (3, 50)


def test_volumes_of_unequal_size_are_decoded_on_finer_voxels():
    volumes = []
    for i, shape in enumerate([(8, 8, 8), (8, 10, 8), (8, 8, 8), (10, 8, 8)]):
        (values,) = pictures(1, *shape, seed=i)
        axes = {name: 2.0 * np.arange(n) for name, n in zip("xyz", shape, strict=True)}
        affine = np.diag([2.0, 2.0, 2.0, 1.0]).tolist()
        volumes.append(xr.DataArray(values, axes, tuple("xyz"), attrs={"affine": affine}))
    enc = encoder(3 * 3 * 2, max_iter=2, latents=1).fit(volumes)
    Z = enc.transform(volumes)
    fine = decode_volumes(enc, Z, volumes, spacing=1.0)
    assert [volume.shape for volume in fine] == [
        (15, 15, 15),
        (15, 19, 15),
        (15, 15, 15),
        (19, 15, 15),
    ]
    for finer, coarse in zip(fine, enc.inverse_transform(Z, coords=volumes), strict=True):
        np.testing.assert_allclose(finer[::2, ::2, ::2], coarse, atol=1e-4)
    with pytest.raises(ValueError, match=r"volumes\[0\] is for signals of 2 × 3 × 2 cells"):
        decode_volumes(enc, Z[:1], volumes[1:2])


def test_the_command_line_says_that_files_hold_latents_of_one_length(on_lines, tmp_path, capsys):
    on_lines.save(tmp_path / "lines.field")
    values = np.stack([curve(48, seed=i).to_numpy() for i in range(3)])
    lines = xr.DataArray(values, {"x": np.arange(48.0)}, ("sample", "x"), name="lines")
    lines.to_netcdf(tmp_path / "lines.nc")
    names = [str(tmp_path / name) for name in ("lines.field", "lines.nc", "z.npz")]
    assert main(["transform", *names[:2], "-o", names[2]]) == 2
    assert "their latents have 36 numbers" in capsys.readouterr().err


def test_the_example_of_the_guide():
    guide = (REPOSITORY / "docs" / "guide" / "large.md").read_text()
    section = guide[guide.index("## Signals of any size") :]
    code = section[section.index("```python") + len("```python") :]
    names: dict = {}
    exec(code[: code.index("```")], names)
    assert [row.shape for row in names["Z"]] == [(5 * 9 * 4,), (13 * 2 * 4,)]
    assert [found.shape for found in names["decoded"]] == [(20, 33), (50, 8)]
    for found, values in zip(names["decoded"], names["parts"], strict=True):
        assert np.square(found - values).mean() < 0.01 * np.var(names["pictures"])
