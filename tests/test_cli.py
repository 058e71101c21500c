"""The command line, run in this process on small files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neurfield import FunctaEncoder, __version__
from neurfield.cli import main
from neurfield.cli.grids import regrid
from neurfield.cli.latent_file import LatentSet
from neurfield.datasets import load_nifti, load_npz, open_signals, save_nifti, save_npz
from neurfield.evaluation import cross_validated_neighbors, reconstruction
from neurfield.fields import LowRank
from neurfield.learning import Cavia

COMMANDS = ("demo", "fit", "transform", "decode", "mednf", "evaluate", "experiment", "info")
TINY = ["--latent-dim", "6", "--hidden-dim", "16", "--max-iter", "5", "--seed", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with digits, a field fitted to them and their latents."""
    path = tmp_path_factory.mktemp("cli")
    save_npz(open_signals("digits")[:60], path / "digits.npz")
    assert main(["fit", f"{path}/digits.npz", "-o", f"{path}/digits.field", *TINY, "-q"]) == 0
    assert (
        main(["transform", f"{path}/digits.field", f"{path}/digits.npz", "-o", f"{path}/z.npz"])
        == 0
    )
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def error_of(capsys, *arguments: object) -> str:
    """Return the one line that a failing command prints."""
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("neurfield: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


# --- Help and errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_fits_a_terminal(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    assert f"  neurfield {command}" in text
    descriptions = [line for line in text.splitlines() if not line.startswith("  neurfield")]
    assert max(map(len, descriptions)) < 80


def test_help_and_version(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert all(f"\n    {command}" in text for command in COMMANDS)
    assert run("--version") == 0
    assert capsys.readouterr().out == f"neurfield {__version__}\n"


def test_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "neurfield", "fit"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("neurfield: error: the following arguments are required")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("fly",), ("fit", "digits"), ("info", "a", "--fast")])
def test_wrong_usage_is_one_line(capsys, arguments):
    assert "--help'" in error_of(capsys, *arguments)


def test_missing_files_are_named(capsys, folder, tmp_path):
    out = tmp_path / "z.npz"
    field, latents = folder / "digits.field", folder / "z.npz"
    assert "none.npz: no such" in error_of(capsys, "fit", "none.npz", "-o", out)
    assert "none.field" in error_of(capsys, "transform", "none.field", "digits", "-o", out)
    assert "none.npz: no such" in error_of(capsys, "transform", field, "none.npz", "-o", out)
    assert "none.npz: no such" in error_of(capsys, "decode", field, "none.npz", "-o", out)
    assert "none.field" in error_of(capsys, "decode", "none.field", latents, "-o", out)
    assert "none.field" in error_of(capsys, "evaluate", "none.field", "digits")
    assert "none.field" in error_of(capsys, "info", "none.field")
    assert list(tmp_path.iterdir()) == []


def test_truncated_files_are_named(capsys, folder, tmp_path):
    for name in ("digits.field", "z.npz", "digits.npz"):
        content = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    out = tmp_path / "out.npz"
    broken = tmp_path / "digits.field"
    assert "digits.field" in error_of(capsys, "info", broken)
    assert "z.npz: could not be read as a NumPy" in error_of(
        capsys, "decode", folder / "digits.field", tmp_path / "z.npz", "-o", out
    )
    assert "digits.npz: could not be read" in error_of(
        capsys, "fit", tmp_path / "digits.npz", "-o", out
    )
    assert not out.exists()


def test_output_is_checked_before_any_work(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("neurfield.datasets.open_signals", lambda *_, **__: pytest.fail("read"))
    monkeypatch.setattr("neurfield.cli.models.load_model", lambda *_: pytest.fail("loaded"))
    there = tmp_path / "there.npz"
    there.write_text("precious")
    field, latents = folder / "digits.field", folder / "z.npz"
    for arguments in (
        ("fit", "digits", "-o", there),
        ("transform", field, "digits", "-o", there),
        ("decode", field, latents, "-o", there),
    ):
        assert "there.npz: is there already; --overwrite" in error_of(capsys, *arguments)
    assert "a.txt: the ending" in error_of(capsys, "transform", field, "digits", "-o", "a.txt")
    assert "a.jpg: the ending" in error_of(capsys, "demo", "--output", "a.jpg")
    assert "a.svg: the ending" in error_of(capsys, "decode", field, latents, "-o", "a.svg")
    nowhere = tmp_path / "nowhere" / "a.npz"
    assert "no such folder" in error_of(capsys, "decode", field, latents, "-o", nowhere)
    assert there.read_text() == "precious"


def test_overwrite_replaces(folder, tmp_path):
    there = tmp_path / "there.npz"
    there.write_text("old")
    field = folder / "digits.field"
    assert run("transform", field, folder / "digits.npz", "-o", there, "--overwrite") == 0
    assert LatentSet.read(there).latents.shape == (60, 6)


def test_option_of_another_reader_is_refused(capsys, folder, tmp_path):
    error = error_of(
        capsys, "fit", folder / "digits.npz", "--lead", "II", "-o", tmp_path / "a.field"
    )
    assert "a NumPy file has no option 'leads'" in error


def test_parameters_of_the_estimator_are_checked(capsys, tmp_path):
    out = ["--limit", "20", "-o", tmp_path / "a.field"]
    assert "latent_dim" in error_of(capsys, "fit", "digits", "--latent-dim", "0", *out)
    assert "--omega takes one or two" in error_of(
        capsys, "fit", "digits", *out, "--omega", "1", "2", "3"
    )
    assert "--limit must be at least 1" in error_of(
        capsys, "fit", "digits", "-o", tmp_path / "a.field", "--limit", "0"
    )
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback():
    with pytest.raises(FileNotFoundError):
        run("info", "none.field", "--debug")


def test_missing_library_is_one_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    error = error_of(capsys, "fit", tmp_path / "a.nii", "-o", tmp_path / "a.field")
    assert 'pip install "neurfield[readers]"' in error


# --- The main job on files -----------------------------------------------------------------------


def test_fit_reports_and_saves_what_was_asked_for(capsys, tmp_path):
    arguments = ["fit", "digits", "--limit", "40", "-o", tmp_path / "a.field", *TINY]
    assert run(*arguments, "--omega", "5", "15", "--n-layers", "3", "--batch-size", "16") == 0
    out = capsys.readouterr().out
    assert "40 signals of 8 × 8 (y, x)" in out
    assert "5 meta-steps" in out
    assert "dB PSNR" in out
    encoder = FunctaEncoder.load(tmp_path / "a.field")
    assert encoder.omega == (5.0, 15.0)
    assert (encoder.n_layers, encoder.batch_size, encoder.random_state) == (3, 16, 0)


def test_fit_with_a_preset_of_which_options_replace_a_part(capsys, tmp_path):
    arguments = ["fit", "digits", "--limit", "40", "-o", tmp_path / "a.field", *TINY, "-q"]
    assert run(*arguments, "--preset", "lrm-functa") == 0
    encoder = FunctaEncoder.load(tmp_path / "a.field")
    assert isinstance(encoder.field, LowRank)
    assert isinstance(encoder.learner, Cavia)
    assert (encoder.learner.context_ratio, encoder.omega) == (0.2, (10.0, 200.0))
    error = error_of(capsys, *arguments[:-1], "--overwrite", "--preset", "nonesuch")
    assert "one of" in error
    assert "'nonesuch'" in error


def test_fit_quietly_with_one_omega(capfd, tmp_path):
    arguments = ["fit", "digits", "--limit", "40", "-o", tmp_path / "a.field", *TINY, "-q"]
    assert run(*arguments, "--omega", "7") == 0
    assert capfd.readouterr() == ("", "")
    assert FunctaEncoder.load(tmp_path / "a.field").omega == 7.0


def test_fit_resumes_from_a_checkpoint(tmp_path):
    steps = ["--latent-dim", "4", "--hidden-dim", "8", "--seed", "3", "-q", "--limit", "40"]
    checkpoint = ["--checkpoint", tmp_path / "c", "--checkpoint-every", "2"]
    for name, options in {"whole": [], "first": checkpoint, "again": checkpoint}.items():
        out = ["-o", tmp_path / f"{name}.field"]
        assert run("fit", "digits", *steps, *out, "--max-iter", "4", *options) == 0
    whole, again = (FunctaEncoder.load(tmp_path / f"{n}.field") for n in ("whole", "again"))
    images = open_signals("digits")[:5]
    np.testing.assert_array_equal(whole.transform(images), again.transform(images))


def test_transform_equals_the_estimator(folder):
    found = LatentSet.read(folder / "z.npz")
    encoder = FunctaEncoder.load(folder / "digits.field")
    signals = load_npz(folder / "digits.npz")
    np.testing.assert_array_equal(found.latents, encoder.transform(signals))
    np.testing.assert_array_equal(found.labels, signals["label"])
    assert found.features == list(encoder.get_feature_names_out())


@pytest.mark.parametrize("ending", ["npz", "nc", "csv"])
def test_latents_survive_every_format(folder, tmp_path, ending):
    path = tmp_path / f"z.{ending}"
    assert run("transform", folder / "digits.field", folder / "digits.npz", "-o", path) == 0
    expected, found = LatentSet.read(folder / "z.npz"), LatentSet.read(path)
    assert found.latents.dtype == np.float32
    np.testing.assert_array_equal(found.latents, expected.latents)
    assert found.labels.astype(int).tolist() == expected.labels.tolist()
    assert found.features == expected.features


def test_latents_of_another_kind_of_file_are_refused(capsys, folder, tmp_path):
    field, out = folder / "digits.field", tmp_path / "a.npz"
    np.savez(tmp_path / "other.npz", images=np.zeros((3, 3)))
    error = error_of(capsys, "decode", field, tmp_path / "other.npz", "-o", out)
    assert "holds no two-dimensional array 'latents'" in error
    np.savez(tmp_path / "narrow.npz", latents=np.zeros((3, 5)))
    assert "6" in error_of(capsys, "decode", field, tmp_path / "narrow.npz", "-o", out)
    assert not out.exists()


@pytest.mark.parametrize("ending", ["npz", "nc", "zarr"])
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ([], (8, 8)),
        (["--grid", "24", "20"], (24, 20)),
        (["--scale", "1.5"], (12, 12)),
        (["--spacing", "0.5"], (15, 15)),
    ],
)
def test_decode_at_any_resolution(folder, tmp_path, ending, options, shape):
    out = tmp_path / f"out.{ending}"
    assert run("decode", folder / "digits.field", folder / "z.npz", "-o", out, *options) == 0
    decoded = open_signals(out)
    assert decoded.dims == ("sample", "y", "x")
    assert decoded.shape == (60, *shape)
    assert (float(decoded["y"][0]), float(decoded["y"][-1])) == (0, 7)
    encoder = FunctaEncoder.load(folder / "digits.field")
    latents = LatentSet.read(folder / "z.npz").latents
    np.testing.assert_allclose(decoded, encoder.inverse_transform(latents, grid=shape), atol=1e-5)
    np.testing.assert_array_equal(decoded["label"], load_npz(folder / "digits.npz")["label"])


def test_decode_refuses_a_grid_of_other_dimensions(capsys, folder, tmp_path):
    arguments = ["decode", folder / "digits.field", folder / "z.npz", "-o", tmp_path / "a.npz"]
    assert "grid needs 2 numbers (y, x), got [24]" in error_of(capsys, *arguments, "--grid", "24")
    assert "at least one point" in error_of(capsys, *arguments, "--scale", "0.01")
    assert "positive" in error_of(capsys, *arguments, "--spacing", "-1")
    one_file = ["decode", folder / "digits.field", folder / "z.npz", "-o", tmp_path / "a.nii"]
    assert "one .nii file takes one signal, got 60" in error_of(capsys, *one_file)


def test_series_of_several_variables(tmp_path):
    time = np.linspace(0, 2, 30)
    rng = np.random.default_rng(0)
    waves = np.sin(time + rng.uniform(0, 3, (20, 1)))
    dataset = xr.Dataset(
        {"II": (("sample", "time"), waves), "V1": (("sample", "time"), waves**2)},
        coords={"time": ("time", time, {"units": "s"}), "sample": [f"p{i}" for i in range(20)]},
    )
    dataset.to_netcdf(tmp_path / "ecg.nc")
    field, latents = tmp_path / "ecg.field", tmp_path / "z.csv"
    assert run("fit", tmp_path / "ecg.nc", "-o", field, *TINY, "-q") == 0
    assert run("transform", field, tmp_path / "ecg.nc", "-o", latents) == 0
    assert run("decode", field, latents, "-o", tmp_path / "out.nc", "--grid", "59") == 0
    decoded = open_signals(tmp_path / "out.nc")
    assert decoded.dims == ("sample", "time", "channel")
    assert decoded["channel"].values.tolist() == ["II", "V1"]
    assert decoded["sample"].values.tolist() == dataset["sample"].values.tolist()
    assert decoded["time"].attrs["units"] == "s"
    np.testing.assert_allclose(decoded["time"], np.linspace(0, 2, 59))
    assert run("evaluate", field, tmp_path / "ecg.nc") == 0


def test_volumes_of_various_shapes_go_back_to_their_places(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    shapes = {"a.nii.gz": (6, 5, 4), "b.nii.gz": (5, 6, 4), "c.nii.gz": (6, 5, 4)}
    for name, shape in shapes.items():
        nibabel.save(nibabel.Nifti1Image(rng.random(shape), affine), tmp_path / "in" / name)
    field, latents = tmp_path / "brain.field", tmp_path / "z.npz"
    assert run("fit", tmp_path / "in", "-o", field, *TINY, "-q") == 0
    assert run("transform", field, tmp_path / "in", "-o", latents) == 0
    assert run("decode", field, latents, "-o", tmp_path / "out") == 0
    assert run("decode", field, latents, "-o", tmp_path / "fine", "--spacing", "0.75") == 0
    for name, shape in shapes.items():
        same, fine = (nibabel.load(tmp_path / where / name) for where in ("out", "fine"))
        assert same.shape == shape
        np.testing.assert_allclose(same.affine, affine)
        np.testing.assert_allclose(fine.header.get_zooms(), 0.75)
        # Every second voxel along the first axis, every eighth ... of the finer one coincide.
        np.testing.assert_allclose(fine.affine @ [2, 8, 4, 1], affine @ [1, 3, 1, 1])
        np.testing.assert_allclose(
            fine.get_fdata()[::2, ::8, ::4], same.get_fdata()[:, ::3], atol=1e-5
        )
    assert run("evaluate", field, tmp_path / "in", "--json", tmp_path / "e.json") == 0
    figures = json.loads((tmp_path / "e.json").read_text())
    encoder = FunctaEncoder.load(field)
    assert figures["psnr"]["mean"] == pytest.approx(encoder.score(load_nifti(tmp_path / "in")))


def test_volumes_of_various_shapes_do_not_fit_one_file(capsys, tmp_path):
    for name, size in {"a.nii": 4, "b.nii": 5}.items():
        values = np.random.default_rng(size).random((size, 4))
        save_nifti(xr.DataArray(values, dims=("x", "y")), tmp_path / name)
    field, latents = tmp_path / "a.field", tmp_path / "z.nc"
    assert run("fit", tmp_path, "-o", field, *TINY, "-q") == 0
    assert run("transform", field, tmp_path, "-o", latents) == 0
    capsys.readouterr()
    error = error_of(capsys, "decode", field, latents, "-o", tmp_path / "a.nc")
    assert "different grids do not fit one .nc file" in error
    assert run("decode", field, latents, "-o", tmp_path / "a.npz") == 0
    with np.load(tmp_path / "a.npz") as file:
        assert file["values_0000"].shape == (4, 4)
        assert file["values_0001"].shape == (5, 4)


def test_evaluate_agrees_with_the_estimator(capsys, folder, tmp_path):
    report = tmp_path / "e.json"
    arguments = ["evaluate", folder / "digits.field", folder / "digits.npz", "--json", report]
    assert run(*arguments, "--each") == 0
    out = capsys.readouterr().out
    figures = json.loads(report.read_text())
    encoder = FunctaEncoder.load(folder / "digits.field")
    images = load_npz(folder / "digits.npz")
    assert figures["psnr"]["mean"] == pytest.approx(encoder.score(images), abs=1e-3)
    mean = images.mean("sample")
    assert figures["mean_signal_baseline"]["mse"] == pytest.approx(
        float(((images - mean) ** 2).mean())
    )
    assert len(figures["per_signal"]["psnr"]) == figures["n_signals"] == 60
    assert f"{figures['psnr']['median']:.2f}" in out
    assert f"accuracy {figures['classification']['accuracy']:.4f}" in out
    assert len(figures["per_signal"]["ssim"]) == 60
    assert f"{figures['ssim']['mean']:.4g}" in out
    assert "LPIPS           not measured: LPIPS needs grey or colour images of at least 31" in out
    assert "saved to" in out


def test_values_that_were_not_observed_do_not_count(folder):
    encoder = FunctaEncoder.load(folder / "digits.field")
    images = load_npz(folder / "digits.npz")
    holed = images.where(np.random.default_rng(0).random(images.shape) < 0.7)
    measured = reconstruction(encoder, holed, encoder.transform(holed))
    assert measured.scores.psnr.mean() == pytest.approx(encoder.score(holed), abs=1e-3)
    assert np.isfinite(measured.baseline.psnr).all()


def test_classification_needs_classes():
    latents = np.repeat(np.eye(2), 4, axis=0)
    found = cross_validated_neighbors(latents, np.repeat(["a", "b"], 4))
    assert (found["accuracy"], found["macro_f1"], found["folds"]) == (1.0, 1.0, 4)
    assert "reason" in cross_validated_neighbors(latents, np.zeros(8))
    assert "reason" in cross_validated_neighbors(latents, np.arange(8))


def test_info_tells_what_is_inside(capsys, folder):
    assert run("info", folder / "digits.field") == 0
    out = capsys.readouterr().out
    for line in ("axis y              0 to 7, 8 points", "latent dim          6", "varpro"):
        assert line in out


def test_info_of_an_estimator_fitted_to_arrays(capsys, tmp_path):
    rng = np.random.default_rng(0)
    encoder = FunctaEncoder(4, hidden_dim=8, max_iter=2, channel_axis=1, early_stopping=True)
    encoder.fit(rng.random((20, 2, 9))).save(tmp_path / "a.field")
    assert run("info", tmp_path / "a.field") == 0
    assert "channel 1" in capsys.readouterr().out
    LatentSet(encoder.transform(rng.random((3, 2, 9)))).write(tmp_path / "z.npz")
    out = tmp_path / "out.nc"
    assert run("decode", tmp_path / "a.field", tmp_path / "z.npz", "-o", out) == 0
    assert dict(open_signals(out).sizes) == {"sample": 3, "x": 9, "channel": 2}


@pytest.fixture
def few_digits(monkeypatch):
    """Let the demo take 200 digits, with a quarter of which it prints and draws the same."""
    few = open_signals("digits")[:200]
    monkeypatch.setattr("neurfield.datasets.digits", lambda: few)


@pytest.mark.usefixtures("few_digits")
def test_demo_prints_figures_and_draws(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "demo.png"
    assert run("demo", "--output", picture, "--max-iter", "3") == 0
    out = capsys.readouterr().out
    for part in (
        "200 digits",
        "50 of them held out",
        "dB PSNR on held-out",
        "% right by",
        str(picture),
    ):
        assert part in out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("few_digits")
def test_demo_without_matplotlib_still_prints_figures(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("demo", "--output", tmp_path / "demo.png", "--max-iter", "1") == 0
    captured = capsys.readouterr()
    assert "dB PSNR on held-out" in captured.out
    assert 'no picture: this needs the package matplotlib; install it with: pip install "neur' in (
        captured.err
    )
    assert list(tmp_path.iterdir()) == []


# --- Parts ---------------------------------------------------------------------------------------


def test_regrid_keeps_extent_or_spacing():
    axes = {"y": np.array([1.0, 2, 3]), "x": np.array([0.0, 0.1, 0.2, 0.3])}
    assert regrid(axes) == axes
    halved = regrid(axes, spacing=[0.5, 0.1])
    np.testing.assert_allclose(halved["y"], [1, 1.5, 2, 2.5, 3])
    np.testing.assert_allclose(halved["x"], axes["x"])  # 0.3 / 0.1 is less than 3 in binary
    single = regrid(axes, grid=[1, 2])
    assert single["y"].tolist() == [1.0]
    assert single["x"].tolist() == [0.0, 0.3]


@pytest.mark.parametrize("ending", ["npz", "nc"])
def test_latent_file_keeps_grids_and_affines(tmp_path, ending):
    grids = [{"x": np.arange(3.0), "y": np.arange(2.0)}, {"x": np.arange(2.0), "y": np.arange(4.0)}]
    written = LatentSet(
        latents=np.ones((2, 5), np.float32),
        labels=np.array(["a", "b"]),
        names=["one", "two"],
        grids=grids,
        affines=np.stack([np.eye(4), 2 * np.eye(4)]),
    )
    written.write(tmp_path / f"z.{ending}")
    found = LatentSet.read(tmp_path / f"z.{ending}")
    for expected, grid in zip(grids, found.grids, strict=True):
        assert {axis: values.tolist() for axis, values in grid.items()} == {
            axis: values.tolist() for axis, values in expected.items()
        }
    np.testing.assert_array_equal(found.affines, written.affines)
    assert found.names == ["one", "two"]
    assert found.labels.tolist() == ["a", "b"]
