"""Measures of reconstruction and of classification."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from neurfield import FunctaEncoder
from neurfield.evaluation import (
    CNNClassifier,
    MLPProbe,
    classification_scores,
    compare,
    lpips,
    metrics,
    mse,
    psnr,
    reconstruction,
    ssim,
)

SHAPES = [(40,), (12, 17), (7, 9, 8)]


def pair(rng, shape, n=3, channels=2):
    truth = rng.random((n, *shape, channels))
    return truth, np.clip(truth + 0.1 * rng.normal(size=truth.shape), 0, 1)


def ssim_by_definition(truth, found, data_range):
    """Wang et al. 2004, Eq. (13), with SciPy's Gaussian filter over the axes of one channel."""

    def local_mean(values):
        return gaussian_filter(values, sigma=1.5, truncate=3.5, mode="mirror")

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = local_mean(truth), local_mean(found)
    var_x, var_y = local_mean(truth**2) - mean_x**2, local_mean(found**2) - mean_y**2
    covariance = local_mean(truth * found) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.mean(similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("data_range", [1.0, 2.5])
def test_ssim_is_that_of_its_definition(rng, shape, data_range):
    truth, found = pair(rng, shape)
    expected = [
        np.mean([ssim_by_definition(x[..., c], y[..., c], data_range) for c in range(2)])
        for x, y in zip(truth, found, strict=True)
    ]
    np.testing.assert_allclose(ssim(truth, found, data_range), expected, rtol=1e-6)
    np.testing.assert_allclose(ssim(truth, truth), 1.0)


def test_ssim_of_many_signals_is_that_of_each(rng):
    truth, found = pair(rng, (9,), n=150)
    each = [ssim(x[None], y[None])[0] for x, y in zip(truth, found, strict=True)]
    np.testing.assert_allclose(ssim(truth, found), each)


def test_ssim_refuses_what_it_cannot_measure(rng):
    with pytest.raises(ValueError, match=r"at least 6 points, got signals of shape \(8, 5\)"):
        ssim(*pair(rng, (8, 5)))
    with pytest.raises(ValueError, match="one to three axes"):
        ssim(*pair(rng, (6, 6, 6, 6), n=1))
    with pytest.raises(ValueError, match="must have one shape"):
        ssim(np.zeros((2, 8, 1)), np.zeros((2, 9, 1)))


@pytest.mark.parametrize("shape", SHAPES)
def test_errors_are_those_of_scikit_learn(rng, shape):
    truth, found = pair(rng, shape)
    expected = [mean_squared_error(x.ravel(), y.ravel()) for x, y in zip(truth, found, strict=True)]
    np.testing.assert_allclose(mse(truth, found), expected)
    np.testing.assert_allclose(psnr(truth, found), -10 * np.log10(expected))
    np.testing.assert_allclose(psnr(truth * 7, found * 7, 7.0), -10 * np.log10(expected))
    scale = np.array([1.0, 100.0])
    np.testing.assert_allclose(psnr(truth * scale, found * scale, scale), psnr(truth, found))


def test_psnr_agrees_with_torchmetrics(rng):
    functional = pytest.importorskip("torchmetrics.functional.image")
    truth, found = pair(rng, (8, 8))
    theirs = functional.peak_signal_noise_ratio(
        torch.from_numpy(found),
        torch.from_numpy(truth),
        data_range=(0.0, 1.0),
        dim=(1, 2, 3),
        reduction="none",
    )
    np.testing.assert_allclose(psnr(truth, found), theirs.numpy(), rtol=1e-6)


def test_what_was_not_observed_does_not_count(rng):
    truth, found = pair(rng, (20,))
    holed = truth.copy()
    holed[:, 10:] = np.nan
    np.testing.assert_allclose(mse(holed, found), mse(truth[:, :10], found[:, :10]))
    assert np.isfinite(psnr(holed, found)).all()
    assert np.isnan(ssim(holed, found)).all()


def test_a_perfect_reconstruction_has_a_finite_psnr():
    assert psnr(np.ones((1, 3)), np.ones((1, 3)))[0] == 200.0


# --- LPIPS ---------------------------------------------------------------------------------------


@pytest.fixture
def without_cache():
    metrics._weights_obstacle.cache_clear()
    yield
    metrics._weights_obstacle.cache_clear()


@pytest.mark.usefixtures("without_cache")
def test_lpips_says_what_is_missing(monkeypatch, tmp_path):
    images = np.zeros((2, 40, 40, 1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="LPIPS needs the package torchmetrics"):
        lpips(images, images)
    metrics._weights_obstacle.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=r"weights of AlexNet in .*alexnet.*not there"):
        lpips(images, images)


@pytest.mark.parametrize("shape", [(28, 28, 1), (40, 40, 2), (40, 1), (40, 40, 40, 1)])
def test_lpips_is_for_images(shape):
    with pytest.raises(ValueError, match="grey or colour images of at least 31 × 31"):
        lpips(np.zeros((1, *shape)), np.zeros((1, *shape)))


@pytest.mark.usefixtures("without_cache")
def test_lpips_sees_colour_images_between_0_and_1(monkeypatch, tmp_path, rng):
    functional = pytest.importorskip("torchmetrics.functional.image")
    seen = []

    def stand_in(first, second, net_type, normalize):
        seen.append((first, second, net_type, normalize))
        return (first - second).abs().mean()

    monkeypatch.setattr(functional, "learned_perceptual_image_patch_similarity", stand_in)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    truth, found = rng.random((2, 32, 40, 1)), 3 * rng.random((2, 32, 40, 1)) - 1
    distances = lpips(truth, found)
    expected = np.abs(truth - np.clip(found, 0, 1)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert seen[0][0].shape == (1, 3, 32, 40)
    assert seen[0][2:] == ("alex", True)


# --- Scores of an encoder ------------------------------------------------------------------------


def test_compare_names_what_it_could_not_measure(rng, monkeypatch):
    truth, found = pair(rng, (8, 8), channels=1)
    scores = compare(10 * truth - 3, 10 * found - 3, np.array([-3.0]), np.array([10.0]))
    np.testing.assert_allclose(scores.ssim, ssim(truth, found))
    np.testing.assert_allclose(scores.mse, 100 * mse(truth, found))
    assert scores.lpips is None
    assert "31 × 31" in scores.missing["lpips"]
    assert set(scores.means()) == {"mse", "psnr", "ssim"}
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    without = compare(truth, found, 0.0, 1.0)
    assert 'pip install "neurfield[evaluation]"' in without.missing["ssim"]
    np.testing.assert_allclose(without.psnr, scores.psnr)


def test_reconstruction_of_every_container(rng, small_encoder):
    values = rng.random((12, 9, 8)).astype(np.float32)
    array = xr.DataArray(values, dims=("sample", "y", "x"))
    dataset = xr.Dataset({"a": array, "b": array**2})
    ragged = [array[i, : 6 + i % 3].rename(None) for i in range(12)]
    for signals in (array, array.transpose("x", "sample", "y"), dataset, ragged):
        encoder = small_encoder().fit(signals)
        latents = encoder.transform(signals)
        scores = reconstruction(encoder, signals, latents).scores
        assert scores.psnr.mean() == pytest.approx(encoder.score(signals), abs=1e-3)
        assert scores.ssim.shape == (12,)
        assert (np.abs(scores.ssim) <= 1).all()


# --- Classifiers ---------------------------------------------------------------------------------


@parametrize_with_checks([MLPProbe(max_iter=5, device="cpu", random_state=0)])
def test_the_probe_is_a_scikit_learn_classifier(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


def test_the_probe_is_the_published_network(digits):
    X, y = digits
    probe = MLPProbe(max_iter=3, device="cpu", random_state=0).fit(X[:400], y[:400])
    widths = [layer.weight.shape for layer in probe.network_ if hasattr(layer, "weight")]
    assert widths == [(1024, 64), (512, 1024), (10, 512)]
    assert probe.n_parameters_ == 65 * 1024 + 1025 * 512 + 513 * 10
    assert [m.p for m in probe.network_ if isinstance(m, torch.nn.Dropout)] == [0.3, 0.3]
    assert probe.score(X[400:], y[400:]) > 0.8


def test_the_best_epoch_is_kept(digits, monkeypatch):
    X, y = digits
    late = MLPProbe(max_iter=6, learning_rate=0.1, device="cpu", random_state=0)
    late.fit(X[:200], y[:200])
    best = int(np.argmax(late.validation_curve_))
    assert best < 5  # such steps are too long to end with the best weights
    early = MLPProbe(max_iter=best + 1, learning_rate=0.1, device="cpu", random_state=0)
    early.fit(X[:200], y[:200])
    np.testing.assert_array_equal(early.predict_proba(X), late.predict_proba(X))


def test_torch_numbers_are_left_alone(digits):
    X, y = digits
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    MLPProbe(max_iter=1, device="cpu", random_state=0).fit(X[:50], y[:50])
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("resnet50", (50,)),
        ("resnet50", (28, 20)),
        pytest.param("resnet50", (9, 12, 10), marks=pytest.mark.slow),
        ("efficientnet-b0", (50,)),
        ("efficientnet-b0", (28, 20)),
        ("efficientnet-b0", (9, 12, 10)),
    ],
)
def test_networks_of_one_to_three_axes(rng, architecture, shape):
    pytest.importorskip("monai")
    X, y = rng.random((3, *shape)), np.array(["a", "b", "a"])
    network = CNNClassifier(
        architecture, max_iter=1, batch_size=2, device="cpu", random_state=0
    ).fit(X, y)
    probabilities = network.predict_proba(X)
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert set(network.predict(X)) <= {"a", "b"}
    assert network.n_parameters_ == sum(p.numel() for p in network.network_.parameters())
    with pytest.raises(ValueError, match="as in fit"):
        network.predict(X[:, :-1])


def test_channels_of_images(rng):
    pytest.importorskip("monai")
    X, y = rng.random((4, 3, 16, 16)), [0, 1, 0, 1]
    first = CNNClassifier("efficientnet-b0", channel_axis=1, max_iter=1, random_state=0).fit(X, y)
    last = CNNClassifier("efficientnet-b0", channel_axis=-1, max_iter=1, random_state=0)
    last.fit(np.moveaxis(X, 1, -1), y)
    np.testing.assert_array_equal(first.predict_proba(X), last.predict_proba(np.moveaxis(X, 1, -1)))


def test_networks_check_their_input(rng, monkeypatch):
    with pytest.raises(ValueError, match="architecture"):
        CNNClassifier("resnet51").fit(rng.random((4, 9)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="one to three axes"):
        CNNClassifier().fit(rng.random((2, 3, 3, 3, 3)), [0, 1])
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(ImportError, match=r"pip install \"neurfield\[evaluation\]\""):
        CNNClassifier().fit(rng.random((4, 9)), [0, 1, 0, 1])


@pytest.mark.parametrize("n_classes", [2, 10])
def test_scores_are_those_of_scikit_learn(digits, n_classes):
    X, y = digits
    X, y = X[y < n_classes], y[y < n_classes]
    half = len(y) // 2
    model = LogisticRegression(max_iter=50)
    scores = classification_scores(model, X[:half], y[:half], X[half:], y[half:])
    found, probabilities = model.predict(X[half:]), model.predict_proba(X[half:])
    if n_classes == 2:
        expected = roc_auc_score(y[half:], probabilities[:, 1])
    else:
        expected = roc_auc_score(y[half:], probabilities, multi_class="ovr")
    assert scores["auc"] == pytest.approx(expected)
    assert scores["accuracy"] == accuracy_score(y[half:], found)
    assert scores["macro_f1"] == f1_score(y[half:], found, average="macro")
    assert (scores["parameters"], scores["fit_seconds"] > 0) == (0, True)


def test_scores_where_a_class_is_missing(digits):
    X, y = digits
    test = y[300:] < 9
    scores = classification_scores(
        KNeighborsClassifier(), X[:300], y[:300], X[300:][test], y[300:][test]
    )
    assert 0.9 < scores["auc"] <= 1
    only = y[300:] == 3
    alone = classification_scores(
        KNeighborsClassifier(), X[:300], y[:300], X[300:][only], y[300:][only]
    )
    assert np.isnan(alone["auc"])


def test_an_encoder_and_the_probe_in_one_pipeline(rng):
    from sklearn.pipeline import make_pipeline

    X, y = load_digits(return_X_y=True)
    images = X[:60].reshape(-1, 8, 8)
    encoder = FunctaEncoder(8, hidden_dim=16, max_iter=3, random_state=0, device="cpu")
    pipeline = make_pipeline(encoder, MLPProbe(max_iter=3, random_state=0))
    assert pipeline.fit(images, y[:60]).predict(images).shape == (60,)
