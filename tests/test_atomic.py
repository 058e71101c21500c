"""A path holds what was there or what is new, whole, however a write ends."""

import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import xarray as xr

from neurfield.atomic import replacing
from neurfield.datasets import load_zarr, save_netcdf, save_npz, save_zarr
from neurfield.learning.checkpoint import save_checkpoint


@pytest.fixture
def umask():
    """Set a umask that is not the usual one, and put the old one back."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


@pytest.fixture
def hasty_threads():
    """Change threads between almost any two steps, so that races show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def make_folder(path, text):
    path.mkdir()
    (path / "part").mkdir()
    (path / "part" / "text").write_text(text)


def make_file(path, text):
    path.write_text(text)


def content(path):
    return (path / "part" / "text" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("make", [make_file, make_folder])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_the_old_stays_until_the_block_ends_well(tmp_path, make, error):
    target = tmp_path / "target.kind"
    make(target, "old")

    def fail():
        with replacing(target) as temporary:
            assert temporary.suffix == ".kind"
            make(temporary, "half")
            assert content(target) == "old"
            raise error

    with pytest.raises(error):
        fail()
    assert os.listdir(tmp_path) == ["target.kind"]
    assert content(target) == "old"
    with replacing(target) as temporary:
        make(temporary, "new")
    assert os.listdir(tmp_path) == ["target.kind"]
    assert content(target) == "new"


@pytest.mark.parametrize("make", [make_file, make_folder])
def test_two_writers_of_one_path(tmp_path, make):
    target = tmp_path / "target"
    with replacing(target) as one, replacing(target) as other:
        assert one != other
        make(one, "one")
        make(other, "other")
    assert content(target) == "one"  # its block ended last
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("make", [make_file, make_folder])
def test_many_writers_at_once(tmp_path, make, hasty_threads):
    target, errors = tmp_path / "target", []
    barrier = threading.Barrier(4)

    def write(text):
        try:
            barrier.wait()
            for _ in range(20):
                with replacing(target) as temporary:
                    make(temporary, text)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path) == ["target"]
    assert content(target) in "0123"


def test_writers_in_several_processes(tmp_path):
    code = """if True:
        import sys
        from pathlib import Path
        from neurfield.atomic import replacing
        for _ in range(20):
            with replacing(sys.argv[1]) as temporary:
                temporary.mkdir()
                (temporary / "a").write_text(sys.argv[2])
                (temporary / "b").write_text(sys.argv[2])
    """
    target = tmp_path / "store"
    command = [sys.executable, "-c", code, str(target)]
    writers = [subprocess.Popen([*command, text]) for text in ("one", "other")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert os.listdir(tmp_path) == ["store"]
    assert (target / "a").read_text() == (target / "b").read_text()


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_moved(tmp_path, monkeypatch):
    target = tmp_path / "store"
    make_folder(target, "old")
    replace = os.replace

    def refuse(source, destination):
        if "-old-" not in f"{source}{destination}" and not target.exists():
            raise PermissionError("moved by no one")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError), replacing(target) as temporary:
        make_folder(temporary, "new")
    assert os.listdir(tmp_path) == ["store"]
    assert content(target) == "old"


def test_a_file_takes_no_folder_s_place_nor_a_device_s(tmp_path):
    make_folder(tmp_path / "folder", "kept")
    with pytest.raises(OSError, match="folder"), replacing(tmp_path / "folder") as temporary:
        temporary.write_text("file")
    assert content(tmp_path / "folder") == "kept"
    with pytest.raises(OSError, match="neither a file nor a folder"), replacing(os.devnull):
        pass
    with pytest.raises(FileNotFoundError, match="no such folder"), replacing(tmp_path / "a" / "b"):
        pass


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    make_folder(tmp_path / "real" / "store", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "store")
    with replacing(tmp_path / "link") as temporary:
        make_folder(temporary, "new")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real" / "store") == "new"
    assert os.listdir(tmp_path / "real") == ["store"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path, umask, small_encoder):
    pytest.importorskip("zarr")
    signals = xr.DataArray(np.ones((3, 8), np.float32), dims=("sample", "x"))
    small_encoder(max_iter=2, random_state=0).fit(np.eye(6, 8)).save(tmp_path / "model")
    save_npz(signals, tmp_path / "signals.npz")
    save_zarr(signals, tmp_path / "signals.zarr")
    save_checkpoint(tmp_path / "checkpoint", {"weights": torch.ones(2)}, {})
    for path in tmp_path.rglob("*"):
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(("save", "name"), [(save_zarr, "a.zarr"), (save_netcdf, "a.nc")])
def test_a_lazy_write_that_fails_in_the_middle(tmp_path, save, name, error, existing):
    for module in ("dask", "zarr", "netCDF4"):
        pytest.importorskip(module)
    import dask
    import dask.array as da

    signals = xr.DataArray(np.arange(48.0).reshape(8, 6), dims=("sample", "x"), name="values")
    path = tmp_path / name
    if existing:
        save(signals, path)
    failed, running = threading.Event(), threading.Event()
    ended = []

    def block(values, block_info=None):
        number = block_info[0]["chunk-location"][0]
        if number == 1:  # ends after the write has failed
            running.set()
            failed.wait(10)
            ended.append(number)
        elif number == 2:
            running.wait(10)
            threading.Timer(0.2, failed.set).start()
            raise error("in the middle")
        return values

    values = da.from_array(signals.data, chunks=(1, 6)).map_blocks(block, dtype=float)
    lazy = signals.copy(data=values)
    with dask.config.set(num_workers=4), pytest.raises(error, match="in the middle"):
        save(lazy, path)
    assert ended == [1], "a task was still running when the error came"
    assert os.listdir(tmp_path) == ([name] if existing else [])
    if existing:
        read = load_zarr(path) if save is save_zarr else xr.load_dataarray(path)
        np.testing.assert_array_equal(read, signals)


def test_a_lazy_store_is_saved_over_itself(tmp_path):
    for module in ("dask", "zarr"):
        pytest.importorskip(module)
    signals = xr.DataArray(np.arange(48.0).reshape(8, 6), dims=("sample", "x"), name="values")
    save_zarr(signals, tmp_path / "a.zarr")
    save_zarr(2 * load_zarr(tmp_path / "a.zarr", chunks={"sample": 2}), tmp_path / "a.zarr")
    np.testing.assert_array_equal(load_zarr(tmp_path / "a.zarr"), 2 * signals)
    assert os.listdir(tmp_path) == ["a.zarr"]
