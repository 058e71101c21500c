"""Whatever is handed to the command line, it says in one line what is wrong with it."""

import os

import numpy as np
import pytest
import xarray as xr

from neurfield.cli import main
from neurfield.cli.grids import regrid
from neurfield.datasets import digits, save_netcdf, save_npz
from neurfield.learning import Learner, VarPro

TINY = ("--latent-dim", "4", "--hidden-dim", "8", "--max-iter", "2", "--seed", "0", "-q")


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of pictures of 8 × 8 pixels, its signals and its latents."""
    folder = tmp_path_factory.mktemp("made")
    save_npz(digits()[:20], folder / "digits.npz")
    assert run("fit", folder / "digits.npz", "-o", folder / "m.field", *TINY) == 0
    assert run("transform", folder / "m.field", folder / "digits.npz", "-o", folder / "z.npz") == 0
    assert run("transform", folder / "m.field", folder / "digits.npz", "-o", folder / "z.nc") == 0
    return folder


def error_of(capsys, *arguments, status=2):
    capsys.readouterr()
    assert run(*arguments) == status
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("neurfield: error: ")
    assert not any(line.startswith(("Traceback", "  File")) for line in lines)
    return lines[-1]


# --- what is no fault of the user -----------------------------------------------------------------


@pytest.fixture
def stumbling():
    """Name of a learner of one's own, whose fault is not that of the command line's user."""

    class Stumbling(VarPro):
        name = "stumbling"

        def draw(self, store, generator):
            raise ZeroDivisionError("division by zero")

    yield Stumbling.name
    del Learner._known[Stumbling.name]


@pytest.mark.parametrize("debug", [False, True])
def test_an_unexpected_error_asks_for_a_report(capsys, made, tmp_path, stumbling, debug):
    words = ("fit", made / "digits.npz", "-o", tmp_path / "m", *TINY, "--learner", stumbling)
    if debug:
        with pytest.raises(ZeroDivisionError):
            run(*words, "--debug")
        return
    error = error_of(capsys, *words, status=70)
    assert "unexpected ZeroDivisionError: division by zero; please report it" in error
    assert "--debug" in error


def test_memory_that_runs_out_is_no_bug(capsys, made, tmp_path):
    error = error_of(
        capsys, "fit", made / "digits.npz", *TINY, "-o", tmp_path / "m", "--latent-dim", 10**14
    )
    assert "not enough memory" in error


# --- outputs that would destroy an input ----------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "digits.npz", "-o", "digits.npz", *TINY),
        ("fit", "digits.npz", "-o", "point", "--checkpoint", "point", *TINY),
        ("transform", "m.field", "digits.npz", "-o", "digits.npz"),
        ("transform", "m.field", "digits.npz", "-o", "../{name}/digits.npz"),
        ("decode", "m.field", "z.npz", "-o", "z.npz"),
        ("decode", "m.field", "z.npz", "-o", "link.npz"),
        ("evaluate", "m.field", "signals.json", "--json", "signals.json"),
    ],
)
def test_what_is_read_is_not_replaced(capsys, made, monkeypatch, words):
    monkeypatch.chdir(made)
    for name in ("point", "signals.json"):
        (made / name).write_text("precious")
    if not (made / "link.npz").exists():
        os.symlink(made / "z.npz", made / "link.npz")
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    words = [word.format(name=made.name) for word in words]
    assert "is read by this command" in error_of(capsys, *words, "--overwrite")
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


# --- files of another kind ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["empty.npz", "text.npz", "empty.nc", "empty.csv", "text.csv"])
@pytest.mark.parametrize("command", ["fit", "transform", "decode", "info", "evaluate"])
def test_files_of_another_kind_are_named(capsys, made, tmp_path, name, command):
    path = tmp_path / name
    path.write_text("" if name.startswith("empty") else "hello\nworld\n")
    out = ("-o", tmp_path / "out.npz")
    words = {
        "fit": (path, *out, *TINY),
        "transform": (made / "m.field", path, *out),
        "decode": (made / "m.field", path, *out),
        "info": (path,),
        "evaluate": (made / "m.field", path),
    }
    assert name in error_of(capsys, command, *words[command])
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("ending", ["npz", "nc"])
@pytest.mark.parametrize("command", ["fit", "transform", "evaluate"])
def test_latents_are_no_signals(capsys, made, tmp_path, ending, command):
    path, out = made / f"z.{ending}", ("-o", tmp_path / "out.npz")
    words = {
        "fit": (path, *out, *TINY),
        "transform": (made / "m.field", path, *out),
        "evaluate": (made / "m.field", path),
    }
    options = ("--variable", "latents") if ending == "nc" else ()
    assert f"z.{ending}: holds latents" in error_of(capsys, command, *words[command], *options)


def test_a_folder_is_no_model_and_no_file_of_latents(capsys, made, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.npz").mkdir()
    out = ("-o", tmp_path / "out.npz")
    assert "folder" in error_of(capsys, "info", tmp_path / "folder")
    assert "folder.npz: is a folder, not a file" in error_of(
        capsys, "decode", made / "m.field", tmp_path / "folder.npz", *out
    )


# --- options out of all bounds --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--grid 0 0", "at least one point"),
        ("--grid 8", "grid needs 2 numbers"),
        ("--grid -1 3", "at least one point"),
        ("--grid 99999999999999999999 2", "at most 2147483647 points along an axis"),
        ("--grid 1000000 1000000", "GiB are free"),
        ("--scale 0", "scale must be a positive number"),
        ("--scale -2", "scale must be a positive number"),
        ("--scale nan", "scale must be a positive number, got nan"),
        ("--scale inf", "scale must be a positive number, got inf"),
        ("--scale 1e30", "at most 2147483647 points"),
        ("--spacing 0", "spacing needs one positive number"),
        ("--spacing nan", "spacing needs one positive number"),
        ("--spacing inf", "spacing needs one positive number"),
        ("--spacing 1e-12", "at most 2147483647 points"),
        ("--spacing 1 2 3", "spacing needs one positive number, or 2"),
    ],
)
def test_grids_that_cannot_be_are_refused(capsys, made, tmp_path, option, said):
    words = ("decode", made / "m.field", made / "z.npz", "-o", tmp_path / "out.npz")
    assert said in error_of(capsys, *words, *option.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--omega 1e300", "'omega'|omega must be"),
        ("--omega 1 nan", "omega must be one positive number"),
        ("--meta-lr 1e300", "'meta_lr'"),
        ("--meta-lr nan", "'meta_lr'"),
        ("--max-time nan", "'max_time'"),
        ("--device meta", "device='meta' is not available"),
        ("--device nosuch", "device='nosuch' names no device"),
        ("--seed -1", "'random_state'"),
        ("--limit 0", "--limit must be at least 1"),
        ("--patch-size 100", "patch_size must not exceed"),
        ("--checkpoint nowhere/file", "checkpoint must name a file"),
    ],
)
def test_options_out_of_bounds_are_refused_before_any_fit(capsys, made, tmp_path, option, said):
    words = ("fit", made / "digits.npz", "-o", tmp_path / "m.field", *TINY)
    error = error_of(capsys, *words, *option.split())
    assert any(part in error for part in said.split("|"))
    assert list(tmp_path.iterdir()) == []


def test_spacing_follows_an_axis_that_falls():
    found = regrid({"y": np.array([4.0, 2.0, 0.0])}, spacing=[1.0])
    assert found["y"].tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]


# --- signals that lie elsewhere -------------------------------------------------------------------


@pytest.mark.parametrize("size", [6, 9, 16])
@pytest.mark.parametrize("command", ["transform", "evaluate"])
def test_pictures_of_another_size_are_refused(capsys, made, tmp_path, size, command):
    np.save(tmp_path / "other.npy", np.ones((5, size, size)))
    out = ("-o", tmp_path / "out.npz") if command == "transform" else ()
    error = error_of(capsys, command, made / "m.field", tmp_path / "other.npy", *out)
    assert f"other.npy: has {size} × {size} points along y, x" in error
    assert "fitted on 8 × 8" in error


def test_coordinates_in_units_follow_the_rule_of_the_estimator(capsys, tmp_path):
    values = np.random.default_rng(0).random((6, 8, 8))
    units = {"units": "mm"}
    pictures = xr.DataArray(
        values,
        {axis: (axis, np.arange(8.0), units) for axis in "yx"},
        ("sample", "y", "x"),
        name="values",
    )
    save_netcdf(pictures, tmp_path / "fit.nc")
    assert run("fit", tmp_path / "fit.nc", "-o", tmp_path / "m.field", *TINY) == 0
    words = ("transform", tmp_path / "m.field", tmp_path / "new.nc", "-o", tmp_path / "z.npz")

    save_netcdf(pictures[:, :5, 1:6], tmp_path / "new.nc")  # a part of the extent
    capsys.readouterr()
    assert run(*words) == 0
    assert capsys.readouterr().err == ""

    save_netcdf(pictures.assign_coords(x=pictures.x + 2.0), tmp_path / "new.nc")
    assert run(*words, "--overwrite") == 0
    assert "warning: encoding at coordinates" in capsys.readouterr().err

    far = pictures.assign_coords(x=("x", pictures.x.values + 6.0, units))
    save_netcdf(far, tmp_path / "new.nc")
    assert "lies outside the extent seen in fit" in error_of(capsys, *words, "--overwrite")
