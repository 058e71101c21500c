"""Signals larger than memory: read in blocks, encoded block-wise, with the results of arrays."""

import threading

import numpy as np
import pytest
import torch
import xarray as xr

from neurfield import memory
from neurfield.datasets import load_netcdf, load_zarr, save_latents, save_netcdf
from neurfield.learning.window import BlockWindow
from neurfield.signals import lazy, read_signals

dask_array = pytest.importorskip("dask.array")


@pytest.fixture
def beats():
    """300 labelled curves with two channels, a fifth of the values of some missing."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, 24)
    values = np.sin(5 * time[:, None] + rng.uniform(0, 6, (300, 1, 2)))
    values[::7] = np.where(rng.random(values[::7].shape) < 0.2, np.nan, values[::7])
    return xr.DataArray(
        values,
        {"time": time, "label": ("sample", np.arange(300) % 3), "channel": ["a", "b"]},
        ("sample", "time", "channel"),
        name="beats",
        attrs={"device": "A"},
    )


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut and keep so little at once that these small sets count as large ones."""
    monkeypatch.setitem(memory.AT_ONCE, "read", (24 * 2 * 10,) * 2)
    monkeypatch.setitem(memory.AT_ONCE, "cached", (24 * 2 * 8 * 60,) * 2)


def opened(kind, beats, tmp_path):
    if kind == "dask":
        return beats.chunk(sample=40)
    if kind == "dask, other order":
        return beats.transpose("channel", "time", "sample").chunk(time=5, sample=40)
    if kind == "netcdf":
        save_netcdf(beats, tmp_path / "beats.nc")
        return xr.open_dataset(tmp_path / "beats.nc").beats
    if kind == "zarr":
        beats.to_dataset().to_zarr(
            tmp_path / "beats.zarr", encoding={"beats": {"chunks": (40, 24, 2)}}, zarr_format=2
        )
        return xr.open_zarr(tmp_path / "beats.zarr", chunks=None).beats
    variables = beats.drop_vars("channel").assign_attrs(device="A")
    parts = xr.Dataset({"a": variables[..., 0], "b": variables[..., 1]})
    if kind == "netcdf, a variable per channel":
        save_netcdf(parts, tmp_path / "parts.nc")
        return xr.open_dataset(tmp_path / "parts.nc")
    return parts.chunk(sample=40)


KINDS = [
    "dask",
    "dask, other order",
    "netcdf",
    "zarr",
    "netcdf, a variable per channel",
    "dask, a variable per channel",
]


@pytest.mark.parametrize("kind", KINDS)
def test_reading_later_changes_no_result(small_encoder, beats, tmp_path, kind):
    X = opened(kind, beats, tmp_path)
    assert isinstance(read_signals(X).groups[0].values, lazy.LazyValues)
    reference, enc = small_encoder().fit(beats), small_encoder().fit(X)
    assert enc.loss_curve_ == reference.loss_curve_
    np.testing.assert_array_equal(np.asarray(enc.transform(X)), reference.transform(beats))
    assert enc.score(X) == reference.score(beats)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_do_not_depend_on_the_blocks(small_encoder, beats, tmp_path, small_blocks, kind):
    enc = small_encoder(precision="float64").fit(beats)
    X = opened(kind, beats, tmp_path)
    np.testing.assert_allclose(np.asarray(enc.transform(X)), enc.transform(beats), atol=1e-6)
    assert enc.score(X) == pytest.approx(enc.score(beats), abs=1e-6)


@pytest.mark.parametrize("kind", ["dask", "netcdf", "zarr"])
def test_a_fit_on_many_blocks_is_repeatable(small_encoder, beats, tmp_path, small_blocks, kind):
    X = opened(kind, beats, tmp_path)
    first, second = small_encoder().fit(X), small_encoder().fit(X)
    assert first.loss_curve_ == second.loss_curve_
    scaler, reference = first.codec_.units.scaler, small_encoder().fit(beats).codec_.units.scaler
    for name in ("offset", "scale", "lower", "upper"):
        np.testing.assert_array_equal(getattr(scaler, name), getattr(reference, name))
    assert np.isfinite(first.loss_curve_).all()


def test_a_fit_on_many_blocks_resumes_exactly(small_encoder, beats, tmp_path, small_blocks):
    X = opened("dask", beats, tmp_path)
    straight = small_encoder(max_iter=12).fit(X)

    def stop(progress):
        return progress.iteration == 5

    path = tmp_path / "state"
    small_encoder(max_iter=12, checkpoint=path, checkpoint_every=1, callbacks=[stop]).fit(X)
    resumed = small_encoder(max_iter=12, checkpoint=path).fit(X)
    assert resumed.loss_curve_ == straight.loss_curve_


def test_early_stopping_and_partial_fit_read_in_blocks(small_encoder, beats, small_blocks):
    X = beats.chunk(sample=40)
    enc = small_encoder(early_stopping=True, max_iter=30).fit(X)
    assert len(enc.validation_curve_) > 0
    enc = small_encoder().partial_fit(X).partial_fit(X)
    assert np.isfinite(enc.loss_curve_).all()


def counting(values, chunk, counts):
    """Return a dask array that counts how often each block is computed."""
    lock = threading.Lock()

    def count(block, block_info=None):
        where = block_info[0]["chunk-location"][0]
        with lock:
            counts[where] = counts.get(where, 0) + 1
        return block

    blocks = dask_array.from_array(values, chunks=(chunk, *values.shape[1:]))
    return blocks.map_blocks(count, dtype=values.dtype, meta=np.empty((0,) * values.ndim))


def test_transform_waits_and_then_reads_each_block_once(small_encoder, beats):
    enc, counts = small_encoder().fit(beats.fillna(0.0)), {}
    X = beats.fillna(0.0)
    X = X.copy(data=counting(X.values, 50, counts))
    Z = enc.transform(X)
    assert counts == {}
    assert isinstance(Z, xr.DataArray)
    assert Z.dims == ("sample", "latent")
    assert Z.chunks is not None
    np.testing.assert_array_equal(Z.label, beats.label)
    first = Z.isel(sample=slice(0, 10)).compute()
    assert first.shape == (10, 4)
    np.testing.assert_allclose(Z.values, enc.transform(X.compute()), atol=1e-5)


def test_a_meta_step_reads_few_blocks(small_encoder, small_blocks, beats):
    counts = {}
    X = beats.fillna(0.0)
    X = X.copy(data=counting(X.values, 10, counts))
    small_encoder(max_iter=1, learner="cavia").fit(X)
    survey = 30
    assert sum(counts.values()) < survey + 2 * 8


def test_scikit_learn_containers_are_filled(small_encoder, beats):
    pd = pytest.importorskip("pandas")
    X = beats.chunk(sample=40)
    enc = small_encoder().fit(X).set_output(transform="pandas")
    frame = enc.transform(X)
    assert isinstance(frame, pd.DataFrame)
    np.testing.assert_array_equal(
        frame.to_numpy(), enc.set_output(transform="default").transform(X)
    )


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_values_that_cannot_be_used_are_refused_when_read(small_encoder, beats, bad):
    enc = small_encoder().fit(beats)
    spoilt = beats.copy()
    spoilt[123] = bad
    message = r"signal\(s\) \[123\]"
    with pytest.raises(ValueError, match=message):
        small_encoder().fit(spoilt.chunk(sample=40))
    with pytest.raises(ValueError, match=message):
        enc.transform(spoilt.chunk(sample=40)).compute()
    with pytest.raises(ValueError, match=message):
        enc.score(spoilt.chunk(sample=40))


def test_transform_on_a_cluster_gives_the_same_latents(small_encoder, beats):
    distributed = pytest.importorskip("distributed")
    enc = small_encoder().fit(beats)
    Z = enc.transform(beats.chunk(sample=40))
    here = Z.compute(scheduler="synchronous")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        xr.testing.assert_equal(Z.compute(), here)


def test_a_memory_map_gives_what_its_array_gives(small_encoder, beats, tmp_path):
    values = beats.fillna(0.0).values[..., 0]
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    (group,) = read_signals(mapped).groups
    assert np.shares_memory(group.values, mapped)
    np.testing.assert_array_equal(
        small_encoder().fit_transform(mapped), small_encoder().fit_transform(values)
    )


def test_lists_of_signals_that_are_not_in_memory(small_encoder, tmp_path, small_blocks):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in [(6, 8), (5, 9), (6, 8), (7, 7)]]
    mapped = []
    for i, array in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
        mapped.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    labelled = [xr.DataArray(a, dims=("y", "x")) for a in arrays]
    chunked = [x.chunk(y=3) for x in labelled]
    expected = small_encoder().fit_transform(arrays)
    np.testing.assert_array_equal(small_encoder().fit_transform(mapped), expected)
    np.testing.assert_array_equal(small_encoder().fit_transform(labelled), expected)
    assert isinstance(read_signals(chunked).groups[0].values, lazy.LazyValues)
    np.testing.assert_array_equal(small_encoder().fit_transform(chunked), expected)


# --- random batches -------------------------------------------------------------------------------


def test_a_window_moves_through_all_blocks_and_reads_each_once_an_epoch():
    block_of = np.repeat(np.arange(20), 50)
    window = BlockWindow(block_of, np.full(20, 100), capacity=400)
    generator = torch.Generator().manual_seed(0)
    seen, entered, previous = np.zeros(1000, dtype=int), 0, set()
    for _ in range(10 * 1000 // 25):  # ten epochs
        batch = window.draw(25, generator)
        assert len(np.unique(batch)) == 25
        seen[batch] += 1
        entered += len(set(window.window) - previous)
        previous = set(window.window)
        assert len(previous) == 4
    assert 195 <= entered <= 210
    assert (np.bincount(block_of, seen) > 300).all()  # 500 on average


def test_a_window_that_holds_all_draws_as_from_memory():
    window = BlockWindow(np.repeat(np.arange(4), 5), np.full(4, 100), capacity=400)
    drawn = window.draw(8, torch.Generator().manual_seed(3))
    expected = torch.randperm(20, generator=torch.Generator().manual_seed(3))[:8]
    np.testing.assert_array_equal(drawn, expected)


def test_a_window_holds_a_batch_whatever_its_size():
    window = BlockWindow(np.arange(100), np.full(100, 100), capacity=300)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        assert len(window.draw(40, generator)) == 40


# --- latents in files -----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".zarr", ".nc"])
def test_latents_are_written_with_labels_and_provenance(small_encoder, beats, tmp_path, ending):
    enc = small_encoder().fit(beats)
    load = load_zarr if ending == ".zarr" else load_netcdf
    chunked = beats.chunk(sample=(70, 40, 40, 150))
    save_latents(enc.transform(chunked), tmp_path / f"lazy{ending}")
    save_latents(enc.transform(beats), tmp_path / f"now{ending}", encoder=enc, source=beats)
    for name in ("lazy", "now"):
        found = load(tmp_path / f"{name}{ending}")
        assert found.dims == ("sample", "latent")
        np.testing.assert_allclose(found, enc.transform(beats), atol=1e-5)
        np.testing.assert_array_equal(found.label, beats.label)
        assert '"latent_dim": 4' in found.attrs["encoder"]
        assert found.attrs["source_attrs"] == '{"device": "A"}'
        assert found.attrs["neurfield_version"]
        assert found.attrs["created"]


def test_a_failed_write_of_latents_leaves_the_old_file(small_encoder, beats, tmp_path):
    enc = small_encoder().fit(beats)
    save_latents(enc.transform(beats), tmp_path / "z.zarr")
    spoilt = beats.copy()
    spoilt[200] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        save_latents(enc.transform(spoilt.chunk(sample=40)), tmp_path / "z.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["z.zarr"]
    np.testing.assert_array_equal(load_zarr(tmp_path / "z.zarr"), enc.transform(beats))


def test_latents_that_cannot_be_written_are_refused(small_encoder, beats, tmp_path):
    with pytest.raises(ValueError, match=r"\.zarr or \.nc"):
        save_latents(np.zeros((3, 4)), tmp_path / "z.csv")
    with pytest.raises(ValueError, match=r"shape \(n, P\), got \(3,\)"):
        save_latents(np.zeros(3), tmp_path / "z.nc")
    with pytest.raises(ValueError, match=r"as many signals .* 3, got 300"):
        save_latents(np.zeros((3, 4)), tmp_path / "z.nc", source=beats)
