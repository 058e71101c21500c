"""Latents say which field they are of, and another field refuses to decode them."""

import copy
import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import REPOSITORY

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.cli.latent_file import LatentSet
from neurfield.datasets import (
    digits,
    load_netcdf,
    load_zarr,
    save_latents,
    to_mednf,
)
from neurfield.errors import FileError
from neurfield.provenance import FINGERPRINT
from neurfield.volumes import decode_volumes


@pytest.fixture(scope="module")
def images():
    return digits()[:30]


@pytest.fixture(scope="module")
def two(small_encoder, images):
    """Two encoders of one shape, whose latents the other would decode to something plausible."""
    return small_encoder().fit(images), small_encoder(random_state=1).fit(images)


@pytest.fixture(scope="module")
def files(two, images, tmp_path_factory):
    """Both encoders and their latents in every kind of file."""
    folder = tmp_path_factory.mktemp("files")
    for name, encoder in zip(("one", "other"), two, strict=True):
        encoder.save(folder / f"{name}.field")
        for ending in ("npz", "nc", "csv"):
            out = folder / f"{name}.{ending}"
            command = ["transform", folder / f"{name}.field", "digits", "--limit", "30", "-o", out]
            assert main([str(word) for word in command]) == 0
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def frame_of(encoder, images):
    table = encoder.set_output(transform="pandas").transform(images)
    encoder.set_output(transform="default")
    return table


# --- what the fingerprint is of -------------------------------------------------------------------


def test_the_fingerprint_survives_all_that_decodes_alike(two, tmp_path):
    encoder = two[0]
    own = encoder.codec_.fingerprint
    encoder.save(tmp_path / "a.field")
    loaded = FunctaEncoder.load(tmp_path / "a.field")
    steps = copy.deepcopy(encoder).set_params(transform_steps=7)
    double = copy.deepcopy(encoder)
    double.codec_.field.double()
    for same in (loaded, pickle.loads(pickle.dumps(encoder)), steps, double):
        assert same.codec_.fingerprint == own


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("varpro", "21bb203406002f1a"),
        ("cavia", "976ad66ae108e924"),
        ("patched_spatial", "c43fd3cb69ad360c"),
    ],
)
def test_files_of_earlier_versions_keep_their_fingerprint(name, fingerprint):
    encoder = FunctaEncoder.load(REPOSITORY / "tests" / "fixtures" / f"{name}.field")
    assert encoder.codec_.fingerprint == fingerprint


def _more_weights(encoder):
    with torch.no_grad():
        encoder.field_.output.bias.add_(1e-3)


def _other_values(encoder):
    encoder.codec_.units.scaler.offset[:] += 1.0


def _other_extent(encoder):
    encoder.codec_.units.frame.half_width[:] *= 2.0


def _other_omega(encoder):
    encoder.field_.omega = (1.0, 2.0)


@pytest.mark.parametrize("change", [_more_weights, _other_values, _other_extent, _other_omega])
def test_whatever_decoding_depends_on_changes_the_fingerprint(two, change):
    encoder = copy.deepcopy(two[0])
    change(encoder)
    assert encoder.codec_.fingerprint != two[0].codec_.fingerprint


def test_partial_fit_changes_the_fingerprint(small_encoder, images):
    encoder = small_encoder().partial_fit(images)
    before, table = encoder.codec_.fingerprint, frame_of(encoder, images)
    encoder.partial_fit(images)
    assert encoder.codec_.fingerprint != before
    with pytest.raises(ValueError, match="before or after more training"):
        encoder.inverse_transform(table)


def test_patches_that_lie_elsewhere_change_the_fingerprint(small_encoder, images):
    one = small_encoder(patch_size=4).fit(images.values)
    other = copy.deepcopy(one)
    other.codec_.patches.origin[:] += 1.0
    assert other.codec_.fingerprint != one.codec_.fingerprint


# --- containers in memory -------------------------------------------------------------------------


def test_a_data_frame_of_latents_knows_its_field(two, images):
    one, other = two
    table = frame_of(one, images)
    assert table.attrs[FINGERPRINT] == one.codec_.fingerprint
    np.testing.assert_array_equal(
        one.inverse_transform(table[3:7]), one.inverse_transform(table[3:7].to_numpy())
    )
    with pytest.raises(ValueError, match=f"X holds latents of the field {one.codec_.fingerprint}"):
        other.inverse_transform(table[3:7])
    assert other.inverse_transform(table.to_numpy()).shape == images.shape


def test_fit_transform_to_pandas_notes_the_field_too(small_encoder, images):
    encoder = small_encoder().set_output(transform="pandas")
    assert encoder.fit_transform(images).attrs[FINGERPRINT] == encoder.codec_.fingerprint


def test_lazily_encoded_latents_know_their_field(two, images):
    one, other = two
    latents = one.transform(images.chunk(sample=10))
    assert one.inverse_transform(latents).shape == images.shape
    with pytest.raises(ValueError, match="another one"):
        other.inverse_transform(latents)


def test_volumes_and_pictures_of_latents_of_another_field_are_refused(small_encoder, rng):
    mm = {axis: np.arange(4.0) for axis in "xyz"}
    attrs = {"affine": np.eye(4).tolist()}
    volumes = [
        xr.DataArray(values, mm, ("x", "y", "z"), attrs=attrs)
        for values in rng.random((4, 4, 4, 4))
    ]
    one, other = (small_encoder(random_state=seed).fit(volumes) for seed in (0, 1))
    table = frame_of(one, volumes)
    assert len(decode_volumes(one, table, volumes)) == 4
    with pytest.raises(ValueError, match="another one"):
        decode_volumes(other, table, volumes)
    pytest.importorskip("matplotlib")
    from neurfield.plotting import plot_interpolation

    with pytest.raises(ValueError, match="z_b holds latents of the field"):
        plot_interpolation(one, table.iloc[0], frame_of(other, volumes).iloc[0])


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["npz", "nc"])
def test_decode_refuses_latents_of_another_field(files, tmp_path, capsys, ending):
    out = tmp_path / "out.npz"
    assert run("decode", files / "other.field", files / f"one.{ending}", "-o", out) == 2
    error = capsys.readouterr().err
    assert f"one.{ending} holds latents of the field" in error
    assert "--force" in error
    assert not out.exists()
    assert run("decode", files / "one.field", files / f"one.{ending}", "-o", out) == 0
    assert capsys.readouterr().err == ""


def test_decode_is_forced_with_a_warning(files, two, tmp_path, capsys):
    out = tmp_path / "out.npz"
    assert run("decode", files / "other.field", files / "one.npz", "-o", out, "--force") == 0
    assert "warning: " in (error := capsys.readouterr().err)
    assert "another field" in error
    expected = two[1].inverse_transform(LatentSet.read(files / "one.npz").latents)
    np.testing.assert_allclose(np.load(out)["values"], expected, rtol=1e-6)


def test_decode_warns_of_files_that_do_not_say_whose_latents_they_hold(files, tmp_path, capsys):
    with np.load(files / "one.npz") as file:
        np.savez(tmp_path / "old.npz", **{n: file[n] for n in file.files if n != FINGERPRINT})
    for latents in (tmp_path / "old.npz", files / "one.csv"):
        out = tmp_path / f"of_{latents.stem}.npz"
        assert run("decode", files / "one.field", latents, "-o", out) == 0
        assert "does not say which field" in capsys.readouterr().err


def test_a_table_of_latents_stays_a_table(files, two):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(files / "one.csv")
    assert list(table.columns[-4:]) == list(two[0].get_feature_names_out())
    assert len(table) == 30


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
@pytest.mark.parametrize("as_frame", [False, True])
def test_saved_latents_know_their_field(two, images, tmp_path, ending, as_frame):
    one, other = two
    load = load_zarr if ending == ".zarr" else load_netcdf
    latents = frame_of(one, images) if as_frame else one.transform(images)
    save_latents(latents, tmp_path / f"z{ending}", encoder=None if as_frame else one)
    found = load(tmp_path / f"z{ending}")
    assert found.attrs[FINGERPRINT] == one.codec_.fingerprint
    np.testing.assert_array_equal(
        one.inverse_transform(found), one.inverse_transform(np.asarray(latents))
    )
    with pytest.raises(ValueError, match="another one"):
        other.inverse_transform(found)


def test_decode_reads_what_save_latents_wrote(two, files, images, tmp_path, capsys):
    save_latents(two[0].transform(images), tmp_path / "z.nc", encoder=two[0], source=images)
    assert run("decode", files / "one.field", tmp_path / "z.nc", "-o", tmp_path / "a.npz") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["labels"], images["label"])
    assert run("decode", files / "other.field", tmp_path / "z.nc", "-o", tmp_path / "b.npz") == 2


def test_latents_are_not_saved_under_another_encoder(two, images, tmp_path):
    one, other = two
    table = frame_of(one, images)
    with pytest.raises(ValueError, match="latents holds latents of the field"):
        save_latents(table, tmp_path / "z.nc", encoder=other)
    dataset = xr.Dataset(
        {"latents": (("sample", "latent"), table.to_numpy(), table.attrs)},
        {"label": ("sample", images.label.values), "split": ("sample", ["train"] * 30)},
    )
    with pytest.raises(ValueError, match="dataset holds latents of the field"):
        to_mednf(dataset, tmp_path / "set", encoder=other)
    assert list(tmp_path.iterdir()) == []


# --- files of other tools -------------------------------------------------------------------------

GOOD = {"latents": np.ones((2, 4), np.float32)}
GRID = {"axes": np.array(["x"]), "sizes": np.array([[2], [3]]), "positions_x": np.arange(5.0)}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": np.ones((2, 4))}, "no two-dimensional array 'latents'.* it holds z"),
        ({"latents": np.ones(4)}, "no two-dimensional array 'latents'"),
        ({"latents": np.full((2, 4), np.nan)}, "must be finite"),
        ({"latents": np.ones((0, 4))}, "must be finite, got none"),
        ({"latents": np.full((2, 4), "a")}, "must be real numbers"),
        ({"latents": np.ones((2, 4), complex)}, "must be real numbers"),
        ({**GOOD, "axes": np.array(["x"])}, "'axes' but not 'sizes', 'positions_x'"),
        ({**GOOD, **GRID, "sizes": np.ones((2, 2), int)}, r"'sizes' must be .* shape \(2, 1\)"),
        ({**GOOD, **GRID, "sizes": np.ones((2, 1))}, "'sizes' must be whole numbers"),
        ({**GOOD, **GRID, "sizes": np.array([[0], [5]])}, "'positions_x' must hold"),
        ({**GOOD, **GRID, "positions_x": np.arange(4.0)}, "'positions_x' must hold .* 5"),
        ({**GOOD, **GRID, "positions_x": np.full(5, np.nan)}, "finite coordinates"),
        ({**GOOD, "labels": np.arange(3)}, r"'labels' has the shape \(3,\)"),
        ({**GOOD, "names": np.array("a")}, r"'names' has the shape \(\)"),
        ({**GOOD, "affines": np.eye(4)}, r"'affines' has the shape \(4, 4\)"),
    ],
)
def test_what_is_wrong_with_a_file_of_latents_is_said(tmp_path, arrays, said):
    np.savez(tmp_path / "z.npz", **arrays)
    with pytest.raises(FileError, match=f"z.npz: .*{said}"):
        LatentSet.read(tmp_path / "z.npz")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be finite, got none"),
        ("a,b\n", "must be finite, got none"),
        ("a,a\n1,2\n", "have one name"),
        ("a,b\n1\n", "line 2 has 1 columns"),
        ("a,b\n1,one\n", "column 'b'"),
        ("a,b\n1,inf\n", "must be finite"),
    ],
)
def test_what_is_wrong_with_a_table_of_latents_is_said(tmp_path, text, said):
    (tmp_path / "z.csv").write_text(text)
    with pytest.raises(FileError, match=said):
        LatentSet.read(tmp_path / "z.csv")


def test_a_field_says_how_long_its_latents_are(files, tmp_path, capsys):
    np.savez(tmp_path / "z.npz", latents=np.ones((2, 5)))
    assert run("decode", files / "one.field", tmp_path / "z.npz", "-o", tmp_path / "o.npz") == 2
    error = capsys.readouterr().err
    assert "z.npz: holds latents of length 5" in error
    assert "one.field have length 4" in error
