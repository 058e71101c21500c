"""The 18 sets of MedMNIST, in files of the published layout."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from neurfield.datasets import load_medmnist, load_npz, open_signals

medmnist_info = pytest.importorskip("medmnist.info")
INFO = medmnist_info.INFO
SETS = sorted(INFO)


def write_set(
    folder: Path, flag: str, size: int = 28, splits=("train", "val", "test"), compress=True
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    facts = INFO[flag]
    n_labels = len(facts["label"])
    shape = (size,) * (3 if flag.endswith("3d") else 2) + (3,) * (facts["n_channels"] == 3)
    arrays = {}
    for n_samples, split in zip((4, 3, 2), splits, strict=False):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n_samples, *shape), dtype=np.uint8)
        if facts["task"].startswith("multi-label"):
            labels = rng.integers(0, 2, (n_samples, n_labels))
        else:
            labels = rng.integers(0, n_labels, (n_samples, 1))
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    name = flag if size == 28 else f"{flag}_{size}"
    (np.savez_compressed if compress else np.savez)(folder / f"{name}.npz", **arrays)
    return arrays


@pytest.mark.parametrize("flag", SETS)
def test_every_set_is_read_with_its_labels(tmp_path, flag):
    arrays = write_set(tmp_path, flag)
    facts = INFO[flag]
    images = load_medmnist(facts["python_class"], split="val", root=tmp_path)
    np.testing.assert_array_equal(images, arrays["val_images"])
    axes = ("z", "y", "x") if flag.endswith("3d") else ("y", "x")
    assert images.dims == ("sample", *axes, *(["channel"] if facts["n_channels"] == 3 else []))
    assert images["sample"].values.tolist() == [0, 1, 2]
    names = list(facts["label"].values())
    if flag == "chestmnist":
        assert "label" not in images.coords
        found = np.column_stack([images[f"label_{name}"] for name in names])
        np.testing.assert_array_equal(found, arrays["val_labels"])
    else:
        classes = arrays["val_labels"][:, 0]
        assert images["label"].values.tolist() == classes.tolist()
        assert images["label_name"].values.tolist() == [names[index] for index in classes]
    assert images.attrs["labels"] == names
    assert images.attrs["split"] == "val"
    assert images.attrs["licence"] == facts["license"]
    assert "MedMNIST v2" in images.attrs["citation"]
    assert images.attrs["task"] == facts["task"]


@pytest.mark.parametrize(
    ("flag", "size"),
    [("octmnist", 64), ("pathmnist", 128), ("chestmnist", 224), ("organmnist3d", 64)],
)
@pytest.mark.parametrize("compress", [True, False])
def test_larger_sizes_stay_on_disk(tmp_path, flag, size, compress):
    arrays = write_set(tmp_path, flag, size, compress=compress)
    for _ in range(2):  # the second time, an unpacked array is found again
        images = load_medmnist(flag, split="train", size=size, root=tmp_path, mmap_mode="r")
        np.testing.assert_array_equal(images, arrays["train_images"])
        base = images.values
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
        assert not images.values.flags.writeable
    held = {f"{flag}_{size}.npz"} | ({f"{flag}_{size}_train_images.npy"} if compress else set())
    assert set(os.listdir(tmp_path)) == held


def test_an_unpacked_array_is_made_anew_when_the_file_is_newer(tmp_path):
    write_set(tmp_path, "octmnist")
    load_medmnist("octmnist", split="val", root=tmp_path, mmap_mode="r")
    unpacked = tmp_path / "octmnist_val_images.npy"
    np.save(unpacked, np.zeros((3, 28, 28), np.uint8))
    os.utime(unpacked, (0, 0))
    images = load_medmnist("octmnist", split="val", root=tmp_path, mmap_mode="r")
    assert images.values.any()


def test_a_file_without_one_split_gives_the_others(tmp_path):
    write_set(tmp_path, "bloodmnist", splits=("train", "test"))
    for split, n_samples in {"train": 4, "test": 3}.items():
        assert len(load_medmnist("bloodmnist", split=split, root=tmp_path)) == n_samples
    with pytest.raises(ValueError, match=r"bloodmnist\.npz: no split 'val'"):
        load_medmnist("bloodmnist", split="val", root=tmp_path)
    with pytest.raises(ValueError, match=r"bloodmnist\.npz: choose a split of train, test"):
        load_medmnist("bloodmnist", root=tmp_path)


def test_a_damaged_split_gives_the_others(tmp_path):
    arrays = write_set(tmp_path, "bloodmnist", compress=False)
    path = tmp_path / "bloodmnist.npz"
    content = path.read_bytes()
    pixels = arrays["val_images"].tobytes()
    assert content.count(pixels) == 1
    path.write_bytes(content.replace(pixels, pixels[::-1]))
    assert len(load_medmnist("bloodmnist", split="test", root=tmp_path)) == 2
    with pytest.raises(ValueError, match=r"bloodmnist\.npz: .*array 'val_images'.*Bad CRC-32"):
        load_medmnist("bloodmnist", split="val", root=tmp_path)


def test_a_wrong_file_is_named(tmp_path):
    write_set(tmp_path, "octmnist")
    (tmp_path / "octmnist.npz").rename(tmp_path / "octmnist_64.npz")
    with pytest.raises(ValueError, match=r"octmnist_64\.npz: OCTMNIST has images of .* \(28, 28\)"):
        load_medmnist("octmnist", split="val", size=64, root=tmp_path)
    (tmp_path / "octmnist.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match=r"octmnist\.npz: could not be read"):
        load_medmnist("octmnist", split="val", root=tmp_path)


def test_wrong_labels_are_named(tmp_path):
    arrays = write_set(tmp_path, "octmnist")
    path = tmp_path / "octmnist.npz"
    np.savez(path, **{**arrays, "val_labels": np.full((3, 1), 4)})
    with pytest.raises(ValueError, match=r"octmnist\.npz: labels must be from 0 to 3, got 4 to 4"):
        load_medmnist(path, split="val")
    del arrays["val_labels"]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"octmnist\.npz: no labels for its 3 images"):
        load_medmnist(path, split="val")


def test_arguments_are_checked_before_any_file_is_touched(tmp_path):
    with pytest.raises(ValueError, match=r"name must be one of .*pathmnist.*, got 'mnist'"):
        load_medmnist("mnist", root=tmp_path)
    with pytest.raises(ValueError, match=r"size of organmnist3d must be one of .*, got 128"):
        load_medmnist("organmnist3d", size=128, root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"octmnist\.npz: no such file; download=True"):
        load_medmnist("octmnist", root=tmp_path)
    with pytest.raises(ValueError, match="root must be None beside the path"):
        load_medmnist("octmnist.npz", root=tmp_path)


def test_download_is_checked_and_whole_or_not_there(tmp_path, monkeypatch):
    (tmp_path / "server").mkdir()
    arrays = write_set(tmp_path / "server", "octmnist", 64)
    served = tmp_path / "server" / "octmnist_64.npz"
    facts = dict(INFO["octmnist"], url_64=served.as_uri(), MD5_64="0" * 32)
    from neurfield.datasets import medmnist as reader

    monkeypatch.setitem(reader._facts().INFO, "octmnist", facts)
    root = tmp_path / "root"
    ask = {"split": "test", "size": 64, "root": root, "download": True}
    with pytest.raises(ConnectionError, match=r"octmnist_64\.npz: .* damaged, its MD5 sum is"):
        load_medmnist("octmnist", **ask)
    assert os.listdir(root) == []
    facts["MD5_64"] = hashlib.md5(served.read_bytes()).hexdigest()
    np.testing.assert_array_equal(load_medmnist("octmnist", **ask), arrays["test_images"])
    served.unlink()
    assert len(load_medmnist("octmnist", **ask)) == 2  # what is there is not fetched again
    (root / "octmnist_64.npz").unlink()
    with pytest.raises(ConnectionError, match=r"octmnist_64\.npz: could not be downloaded from"):
        load_medmnist("octmnist", **ask)
    assert os.listdir(root) == []


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
    write_set(tmp_path, "octmnist")
    from neurfield.datasets import medmnist as reader

    reader._facts.cache_clear()
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(ImportError, match=r'medmnist.*pip install "neurfield\[medmnist\]"'):
        load_medmnist("octmnist", split="val", root=tmp_path)
    plain = open_signals(tmp_path / "octmnist.npz", split="val")
    assert "label" in plain.coords
    assert "label_name" not in plain.coords


def test_open_signals_knows_the_sets_by_file_name(tmp_path):
    write_set(tmp_path, "nodulemnist3d")
    volumes = open_signals(tmp_path / "nodulemnist3d.npz", split="test")
    assert set(volumes["label_name"].values) <= {"benign", "malignant"}


def test_several_labels_are_kept_without_names_too(tmp_path):
    arrays = write_set(tmp_path, "chestmnist")
    images = load_npz(tmp_path / "chestmnist.npz", split="train")
    found = np.column_stack([images[f"label_{place}"] for place in range(14)])
    np.testing.assert_array_equal(found, arrays["train_labels"])


def test_real_set(shared_data):
    images = load_medmnist("PneumoniaMNIST", split="test", root=shared_data)
    assert images.shape == (400, 28, 28)
    assert set(images["label_name"].values) == {"normal", "pneumonia"}
