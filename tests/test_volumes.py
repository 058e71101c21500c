"""NIfTI in, latents, NIfTI out: decoded volumes lie where the originals lie."""

import numpy as np
import pytest

from neurfield.cli import main
from neurfield.datasets import load_nifti, save_nifti
from neurfield.volumes import decode_volumes

nibabel = pytest.importorskip("nibabel")
processing = pytest.importorskip("nibabel.processing")

# Axes permuted, one flipped, oblique, voxels of three sizes.
ANGLE = 0.3
TURN = np.array(
    [[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1.0]]
)
OBLIQUE = nibabel.affines.from_matvec(
    TURN @ np.array([[0, 0, 1.5], [-1.0, 0, 0], [0, 1.2, 0]]), [30, -12, 7.5]
)


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Smooth volumes on oblique voxels, each of its own shape."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(9, 10, 8), (8, 11, 9), (9, 9, 9), (10, 10, 8)]):
        x, y, z = np.meshgrid(*[np.linspace(0, 1, n) for n in shape], indexing="ij")
        a, b, c = rng.uniform(0.5, 2, 3)
        data = (np.sin(3 * a * x + b) * np.cos(2 * y * c) + z).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, OBLIQUE), folder / f"v{i}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def volumes(files):
    return load_nifti(files)


@pytest.fixture(scope="module")
def encoder(small_encoder, volumes):
    return small_encoder(hidden_dim=16, omega=(6.0, 6.0), max_iter=15).fit(volumes)


@pytest.fixture(scope="module")
def latents(encoder, volumes):
    return encoder.transform(volumes)


def test_decoding_on_the_volumes_themselves_keeps_affine_and_name(
    encoder, latents, volumes, files, tmp_path
):
    for decoded in (
        encoder.inverse_transform(latents, coords=volumes),
        decode_volumes(encoder, latents, volumes),
    ):
        for result, original in zip(decoded, volumes, strict=True):
            save_nifti(result, tmp_path / result.attrs["filename"])
            source = nibabel.load(files / original.attrs["filename"])
            written = nibabel.load(tmp_path / original.attrs["filename"])
            assert written.shape == source.shape
            np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)
            assert nibabel.aff2axcodes(written.affine) == nibabel.aff2axcodes(source.affine)
    direct = encoder.inverse_transform(latents, coords=volumes)
    for result, other in zip(decode_volumes(encoder, latents, volumes), direct, strict=True):
        np.testing.assert_allclose(result.values, other.values, atol=1e-5)


def test_a_region_is_written_where_it_lies(encoder, latents, volumes, tmp_path):
    region = volumes[1].isel(x=slice(2, 6), y=slice(3, 8), z=slice(4, 9))
    (decoded,) = encoder.inverse_transform(latents[1:2], coords=[region])
    save_nifti(decoded, tmp_path / "region.nii.gz")
    written = nibabel.load(tmp_path / "region.nii.gz")
    np.testing.assert_allclose(written.affine @ [0, 0, 0, 1], OBLIQUE @ [2, 3, 4, 1], atol=1e-5)
    whole = encoder.inverse_transform(latents[1:2], coords=volumes[1:2])[0]
    np.testing.assert_allclose(written.get_fdata(), whole[2:6, 3:8, 4:9], atol=1e-5)


def test_finer_voxels_lie_on_the_original(encoder, latents, volumes):
    fine = decode_volumes(encoder, latents, volumes, spacing=0.5)
    coarse = decode_volumes(encoder, latents, volumes)
    for a, b, original in zip(fine, coarse, volumes, strict=True):
        affine = np.array(a.attrs["affine"])
        np.testing.assert_allclose(nibabel.affines.voxel_sizes(affine), 0.5)
        back = processing.resample_from_to(
            nibabel.Nifti1Image(a.values, affine), (b.shape, OBLIQUE), order=3, mode="nearest"
        )
        inner = (slice(1, -1),) * 3
        assert psnr(back.get_fdata()[inner], b.values[inner]) > 40
        direct = psnr(b.values[inner], original.values[inner])
        assert psnr(back.get_fdata()[inner], original.values[inner]) > direct - 0.5


def test_another_orientation_shows_the_same_thing_in_the_same_place(encoder, latents, volumes):
    shape, affine = nibabel.spaces.vox2out_vox((volumes[0].shape, OBLIQUE), (0.8,) * 3)
    (turned,) = decode_volumes(encoder, latents[:1], volumes[:1], like=(shape, affine))
    assert turned.shape == shape
    np.testing.assert_allclose(turned.attrs["affine"], affine)
    corner = affine @ [0, 0, 0, 1]
    assert (np.linalg.solve(OBLIQUE, corner)[:3] < -0.5).any()  # outside of the original:
    assert turned.values[0, 0, 0] == 0.0
    # A finely decoded volume, resampled by nibabel to the same voxels, is an independent check.
    (fine,) = decode_volumes(encoder, latents[:1], volumes[:1], spacing=0.25)
    image = nibabel.Nifti1Image(fine.values, np.array(fine.attrs["affine"]))
    expected = processing.resample_from_to(image, (shape, affine), order=1, cval=np.nan).get_fdata()
    known = np.isfinite(expected)
    assert known.mean() > 0.2
    np.testing.assert_allclose(turned.values[known], expected[known], atol=0.02)


def test_like_takes_an_image(encoder, latents, volumes):
    image = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.float32), OBLIQUE)
    by_image = decode_volumes(encoder, latents[:1], volumes[:1], like=image, fill_value=np.nan)[0]
    np.testing.assert_allclose(
        by_image, encoder.inverse_transform(latents[:1], coords=volumes[:1])[0][:5, :6, :7],
        atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spacing": 1.0, "like": ((2, 2, 2), OBLIQUE)}, "at most one of spacing and like"),
        ({"spacing": -1.0}, "spacing must be one positive number"),
        ({"spacing": (1.0, 2.0)}, "spacing must be one positive number"),
        ({"like": ((2, 2), OBLIQUE)}, "like must have three axes"),
        ({"like": ((2, 2, 2), np.eye(3))}, "like must have three axes"),
        ({"like": 3}, "like must be an image"),
    ],
)
def test_bad_grids_are_refused(encoder, latents, volumes, arguments, message):
    with pytest.raises(ValueError, match=message):
        decode_volumes(encoder, latents, volumes, **arguments)


def test_volumes_without_affine_and_of_another_number_are_refused(encoder, latents, volumes):
    with pytest.raises(ValueError, match=r"volumes must be one per latent, got 3 for 4"):
        decode_volumes(encoder, latents, volumes[:3])
    bare = volumes[0].drop_attrs()
    with pytest.raises(ValueError, match=r"volumes\[0\] must have three axes and attrs\['affine'"):
        decode_volumes(encoder, latents[:1], [bare])


def test_command_line_decodes_like_a_file(encoder, files, tmp_path):
    encoder.save(tmp_path / "model.field")
    main(["transform", str(tmp_path / "model.field"), str(files), "-o", str(tmp_path / "z.npz")])
    axial = nibabel.affines.from_matvec(1.5 * np.eye(3), OBLIQUE[:3, 3])
    target = tmp_path / "target.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 7, 8), np.float32), axial), target)
    out = tmp_path / "out"
    model, latent_file = str(tmp_path / "model.field"), str(tmp_path / "z.npz")
    main(["decode", model, latent_file, "-o", str(out), "--like", str(target)])
    volumes = load_nifti(files)
    expected = decode_volumes(encoder, encoder.transform(volumes), volumes, like=((6, 7, 8), axial))
    for volume in expected:
        written = nibabel.load(out / volume.attrs["filename"])
        np.testing.assert_allclose(written.affine, axial, atol=1e-5)
        np.testing.assert_allclose(written.get_fdata(), volume.values, atol=1e-4)


def test_real_volumes_at_half_a_millimetre_open_aligned(small_encoder, shared_data, tmp_path):
    paths = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:4]
    volumes = load_nifti(paths)
    encoder = small_encoder(hidden_dim=16, max_iter=3).fit(volumes)
    latents = encoder.transform(volumes[:1])
    coarse = encoder.inverse_transform(latents, coords=volumes[:1])
    fine = decode_volumes(encoder, latents, volumes[:1], spacing=0.5)
    for original, path, a, b in zip(volumes, paths, coarse, fine, strict=False):
        source = nibabel.load(path)
        save_nifti(a, tmp_path / "coarse.nii.gz")
        save_nifti(b, tmp_path / "fine.nii.gz")
        same, finer = (nibabel.load(tmp_path / f"{n}.nii.gz") for n in ("coarse", "fine"))
        assert same.shape == source.shape[:3]
        np.testing.assert_allclose(same.affine, source.affine)
        np.testing.assert_allclose(finer.header.get_zooms()[:3], 0.5)
        back = processing.resample_from_to(finer, same, order=3, mode="nearest")
        direct = psnr(same.get_fdata(), original)
        assert psnr(back.get_fdata(), original) == pytest.approx(direct, abs=0.5)
