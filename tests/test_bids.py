"""BIDS data sets, made as the standard lays them out."""

import json

import numpy as np
import pytest
import xarray as xr

from neurfield.cli.inputs import labels_of
from neurfield.datasets import load_bids, load_nifti, open_signals, save_nifti
from neurfield.errors import FileError, MissingFileError

nibabel = pytest.importorskip("nibabel", reason='needs the extra "readers"')

TABLE = """participant_id\tage\tgroup\tsession
sub-01\t34\tcontrol\t1
sub-02\tn/a\tpatient\t2
sub-03\t56.5\tn/a\t1
"""


def write(path, shape=(3, 4, 5), unit=None, step=1.0, label=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(path.name)).random(shape, np.float32)
    image = nibabel.Nifti1Image((3 * values).astype(np.uint8) if label else values, 2 * np.eye(4))
    if unit is not None:
        image.header.set_xyzt_units("mm", unit)
        image.header["pixdim"][4] = step
    nibabel.save(image, path)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "study"
    for name in ("01", "02"):
        write(root / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz")
        write(root / f"sub-{name}" / "anat" / f"sub-{name}_acq-high_run-01_T2w.nii.gz")
        write(root / f"sub-{name}" / "anat" / f"sub-{name}_acq-high_run-02_T2w.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "Study", "BIDSVersion": "1.9.0"}')
    (root / "participants.tsv").write_text(TABLE)
    return root


def names(volumes):
    return [volume.attrs["filename"] for volume in volumes]


def test_files_are_found_with_what_is_known_of_their_subjects(root):
    with pytest.warns(UserWarning, match=r"1 of 3 subjects have no such T1w file: sub-03"):
        volumes = load_bids(root, clip=None, scale=False)
    assert names(volumes) == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]
    for volume, name, age in zip(volumes, ("01", "02"), (34, np.nan), strict=True):
        assert str(volume["subject"].values) == name
        np.testing.assert_equal(float(volume["age"]), age)
        (alone,) = load_nifti(
            root / f"sub-{name}" / "anat" / volume.attrs["filename"], clip=None, scale=False
        )
        xr.testing.assert_identical(volume.drop_vars(set(volume.coords) - set("xyz")), alone)
    assert float(volumes[1]["participant_session"]) == 2  # a column that has an entity's name


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"run": 1}, ["sub-01_acq-high_run-01_T2w", "sub-02_acq-high_run-01_T2w"]),
        ({"run": "02", "subject": "01"}, ["sub-01_acq-high_run-02_T2w"]),
        ({"subject": "sub-02", "run": 2}, ["sub-02_acq-high_run-02_T2w"]),
        ({"subject": ["02", "01"], "run": (2,)},
         ["sub-01_acq-high_run-02_T2w", "sub-02_acq-high_run-02_T2w"]),
        ({"acquisition": "high", "subject": "01", "session": None},
         ["sub-01_acq-high_run-01_T2w", "sub-01_acq-high_run-02_T2w"]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*have no such")
def test_entities_choose(root, asked, expected):
    found = load_bids(root, suffix="T2w", datatype="anat", **asked)
    assert names(found) == [f"{name}.nii.gz" for name in expected]
    assert all(str(volume["acquisition"].values) == "high" for volume in found)


def test_sessions(tmp_path):
    for session in ("before", "after"):
        write(tmp_path / "sub-01" / f"ses-{session}" / "anat" / f"sub-01_ses-{session}_T1w.nii")
    (volume,) = load_bids(tmp_path, session="after")
    assert str(volume["session"].values) == "after"
    assert len(load_bids(tmp_path)) == 2
    write(tmp_path / "sub-01" / "ses-before" / "anat" / "sub-01_ses-after_T1w.nii")
    with pytest.raises(FileError, match=r"sub-01_ses-after_T1w.nii: is named for another subject"):
        load_bids(tmp_path)


@pytest.mark.filterwarnings("ignore:.*have no such")
def test_a_column_becomes_the_label(root, small_encoder):
    volumes = load_bids(root, label_column="group")
    assert labels_of(volumes).tolist() == ["control", "patient"]
    assert labels_of(load_bids(root)) is None
    assert small_encoder().fit_transform(volumes).shape == (2, 4)
    with pytest.raises(ValueError, match=r"has no 'age' for sub-02"):
        load_bids(root, label_column="age")
    with pytest.raises(ValueError, match=r"no column 'sex'; it has \['age', 'group', 'session'\]"):
        load_bids(root, label_column="sex")


def test_what_is_not_there_is_named(root):
    with pytest.raises(MissingFileError, match=r"_bold.nii.*holds anat/\*_T1w, anat/\*_T2w"):
        load_bids(root, suffix="bold")
    with pytest.raises(MissingFileError, match=r"fmriprep: no such derivative; there are none"):
        load_bids(root, derivative="fmriprep")
    with pytest.raises(ValueError, match="there is no entity 'sub'; there are subject, session"):
        load_bids(root, sub="01")


@pytest.mark.filterwarnings("ignore:.*have no such")
def test_derivatives_are_not_mixed(root):
    anat = root / "derivatives" / "prep" / "sub-01" / "anat"
    for name in ("space-MNI_desc-preproc", "desc-preproc"):
        write(anat / f"sub-01_{name}_T1w.nii.gz")
    with pytest.raises(FileError, match="several: space='MNI', None; ask for one"):
        load_bids(root, derivative="prep")
    for space, expected in {"MNI": "space-MNI_desc", None: "sub-01_desc"}.items():
        (volume,) = load_bids(root, derivative="prep", space=space, label_column="group")
        assert expected in volume.attrs["filename"]
        assert str(volume["label"].values) == "control"


@pytest.mark.parametrize("suffix", ["dseg", "mask"])
def test_segmentations_are_label_maps(suffix, tmp_path):
    path = tmp_path / "sub-01" / "anat" / f"sub-01_label-GM_{suffix}.nii.gz"
    write(path, (9, 9, 9), label=True)
    (volume,) = load_bids(tmp_path, suffix=suffix, label="GM")
    assert volume.attrs["intent"] == "label"
    assert str(volume["label_entity"].values) == "GM"
    np.testing.assert_array_equal(volume, nibabel.load(path).get_fdata())


def bold(base, unit, step, **sidecars):
    path = base / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz"
    write(path, (3, 4, 5, 6), unit, step)
    places = {
        "root": base / "task-rest_bold.json",
        "subject": base / "sub-01" / "sub-01_bold.json",
        "file": path.parent / "sub-01_task-rest_bold.json",
    }
    for place, content in sidecars.items():
        places[place].write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("unit", "step", "sidecars", "expected"),
    [
        ("sec", 2.0, {}, 2.0),
        ("unknown", 2.0, {"root": {"RepetitionTime": 1.5}}, 1.5),
        ("sec", 0.0, {"root": {"RepetitionTime": 1.5}}, 1.5),
        ("msec", 1500.0, {"root": {"RepetitionTime": 1.5}}, 1.5),
        ("sec", 0.0, {"root": {"RepetitionTime": 9}, "subject": {"RepetitionTime": 3}}, 3.0),
        ("sec", 0.0, {"subject": {"RepetitionTime": 9}, "file": {"RepetitionTime": 3}}, 3.0),
    ],
)
def test_times_of_frames_come_from_the_nearest_sidecar(unit, step, sidecars, expected, tmp_path):
    bold(tmp_path, unit, step, **sidecars)
    (tmp_path / "task-other_bold.json").write_text('{"RepetitionTime": 99}')
    (volume,) = load_bids(tmp_path, suffix="bold", task="rest")
    np.testing.assert_allclose(volume["time"], expected * np.arange(6))
    assert volume["time"].attrs["units"] == "s"


def test_times_that_contradict_each_other_are_refused(tmp_path):
    bold(tmp_path, "sec", 2000.0, file={"RepetitionTime": 2.0})
    with pytest.raises(FileError, match=r"every 2000 s \(pixdim\[4\]\), its sidecar every 2 s"):
        load_bids(tmp_path, suffix="bold")
    assert load_bids(tmp_path, suffix="bold", fourth="channel")[0].dims[3] == "channel"


def test_frames_of_uneven_lengths_stand_at_their_times(tmp_path):
    times = [0, 10, 20, 40, 80, 160]
    bold(tmp_path, "sec", 1.0, file={"FrameTimesStart": times, "Units": "Bq/mL"})
    (volume,) = load_bids(tmp_path, suffix="bold", clip=None, scale=False)
    np.testing.assert_array_equal(volume["time"], times)
    assert volume.attrs["units"] == "Bq/mL"
    assert "units" not in load_bids(tmp_path, suffix="bold")[0].attrs  # of values in [0, 1]
    with pytest.raises(ValueError, match=r"a\.nii: .* evenly spaced; those of 'time'"):
        save_nifti(volume, tmp_path / "a.nii")


@pytest.mark.parametrize(
    "content",
    [{"RepetitionTime": "2"}, {"RepetitionTime": -1}, {"VolumeTiming": [0, 1]}, {"VolumeTiming": 3},
     {"FrameTimesStart": [0, 1, 1, 2, 3, 4]}],
)  # fmt: skip
def test_times_that_are_none_are_refused(content, tmp_path):
    bold(tmp_path, "sec", 1.0, file=content)
    with pytest.raises(FileError, match=rf"bold\.nii\.gz: {next(iter(content))} in its sidecar"):
        load_bids(tmp_path, suffix="bold")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("participants.tsv", "participant_id\tage\nsub-01\n"),
        ("participants.tsv", "participant_id\tage\nsub-01\t1\nsub-01\t2\n"),
        ("participants.tsv", "name\tage\nsub-01\t1\n"),
        ("participants.tsv", b"\xff\xfe\x00"),
        ("sub-01/anat/sub-01_T1w.json", "{"),
        ("sub-01/anat/sub-01_T1w.json", "[1]"),
        ("T1w.json", "[" * 100_000),
    ],
)
def test_damaged_tables_and_sidecars_are_named(root, name, content):
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FileError, match=name.split("/")[-1].replace(".", r"\.")):
        load_bids(root, subject="01")


def test_open_signals_knows_a_data_set_by_its_description(root):
    with pytest.warns(UserWarning, match="sub-03"):
        assert names(open_signals(root)) == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]
    (volume,) = open_signals(root, suffix="T2w", subject="01", run=2, lazy=True)
    assert volume.chunks is not None
    with pytest.raises(ValueError, match="there is no entity 'leads'"):
        open_signals(root, leads=1)


def test_facts_of_a_volume_come_back_with_what_is_decoded(tmp_path):
    from neurfield import FunctaEncoder

    anat = "sub-{0}/anat/sub-{0}_T1w.nii.gz"
    for subject in ("01", "02"):
        path = tmp_path / anat.format(subject)
        path.parent.mkdir(parents=True)
        rng = np.random.default_rng(int(subject))
        nibabel.save(nibabel.Nifti1Image(rng.random((4, 4, 4)), np.eye(4)), path)
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tA\nsub-02\tB\n")
    volumes = load_bids(tmp_path, label_column="group")
    encoder = FunctaEncoder(latent_dim=2, hidden_dim=4, n_layers=2, max_iter=1, device="cpu")
    decoded = encoder.fit(volumes).inverse_transform(encoder.transform(volumes), coords=volumes)
    assert [(str(one["subject"].values), str(one["label"].values)) for one in decoded] == [
        ("01", "A"),
        ("02", "B"),
    ]
