"""FunctaEncoder inside scikit-learn's own machinery."""

import joblib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from neurfield import FunctaEncoder


def tiny(**parameters):
    small = {"latent_dim": 3, "hidden_dim": 8, "n_layers": 3, "max_iter": 3, "batch_size": 16}
    return FunctaEncoder(**(small | {"device": "cpu", "random_state": 0} | parameters))


ESTIMATORS = [tiny(), tiny(learner="cavia"), tiny(field="lapped", n_layers=None)]


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.images[:120], data.target[:120]


@pytest.fixture
def pipeline(small_encoder):
    steps = [("enc", small_encoder()), ("clf", KNeighborsClassifier(3))]
    return Pipeline(steps)


def beyond_chance(estimator):
    """Return the checks that no estimator passes that draws mini-batches at random."""
    reason = "the draws differ where signals are repeated; tests/test_sample_weight.py has none"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=beyond_chance)
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


def test_latents_do_not_depend_on_the_batch_in_single_precision(small_encoder, digits):
    images, _ = digits
    enc = small_encoder().fit(images)
    together = enc.transform(images)
    alone = np.concatenate([enc.transform(images[i : i + 1]) for i in range(len(images))])
    np.testing.assert_array_equal(alone, together)


def test_clone_has_the_same_parameters_and_is_not_fitted(small_encoder, digits):
    enc = small_encoder(omega=(20.0, 40.0)).fit(digits[0])
    copy = clone(enc)
    assert copy.get_params() == enc.get_params()
    assert not hasattr(copy, "codec_")


def test_pipeline_classifies_better_than_chance(small_encoder, digits):
    images, labels = digits
    enc = small_encoder(latent_dim=8, hidden_dim=16, max_iter=40)
    pipe = Pipeline([("enc", enc), ("clf", KNeighborsClassifier(3))]).fit(images[:90], labels[:90])
    assert pipe.score(images[90:], labels[90:]) > 0.4


def test_cross_val_score_gives_one_finite_score_per_fold(pipeline, digits):
    scores = cross_val_score(pipeline, *digits, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


def test_encoder_alone_is_scored_by_its_psnr(small_encoder, digits):
    images, _ = digits
    scores = cross_val_score(small_encoder(), images, cv=3)
    enc = small_encoder().fit(images[40:])
    assert scores[0] == pytest.approx(enc.score(images[:40]))


def test_grid_search_over_the_latent_length_with_two_workers(pipeline, digits):
    search = GridSearchCV(pipeline, {"enc__latent_dim": [2, 5]}, cv=2, n_jobs=2)
    search.fit(*digits)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_params_["enc__latent_dim"]
    assert search.best_estimator_[:-1].transform(digits[0]).shape == (120, best)


def test_grid_search_with_workers_gives_what_one_process_gives(pipeline, digits):
    grid = {"enc__latent_dim": [2, 5]}
    one = GridSearchCV(pipeline, grid, cv=2, n_jobs=1).fit(*digits)
    two = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(*digits)
    np.testing.assert_allclose(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"], atol=0.02
    )


def test_memory_reuses_the_fitted_encoder(small_encoder, digits, tmp_path):
    calls = tmp_path / "calls"
    memory = joblib.Memory(tmp_path / "cache", verbose=0)
    encoder = small_encoder(callbacks=[LogCalls(calls)])
    pipe = Pipeline([("enc", encoder), ("clf", KNeighborsClassifier(3))], memory=memory)
    first = pipe.fit(*digits).predict(digits[0])
    after_first = calls.read_text()
    second = clone(pipe).fit(*digits).predict(digits[0])
    assert calls.read_text() == after_first
    np.testing.assert_array_equal(first, second)


class LogCalls:
    """A callback whose calls can be counted across processes and caches."""

    def __init__(self, path):
        self.path = path

    def __call__(self, progress):
        with open(self.path, "a") as file:
            file.write(f"{progress.iteration}\n")


def test_set_output_pandas_names_columns_and_keeps_the_index(small_encoder):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((20, 6)), index=[f"beat {i}" for i in range(20)])
    frame.columns = [f"t{i}" for i in range(6)]
    enc = small_encoder().set_output(transform="pandas").fit(frame)
    latents = enc.transform(frame)
    assert isinstance(latents, pd.DataFrame)
    assert list(latents.columns) == [f"functaencoder{i}" for i in range(4)]
    assert list(latents.index) == list(frame.index)
    assert list(enc.feature_names_in_) == list(frame.columns)


def test_set_output_pandas_on_images_and_on_xarray(small_encoder, digits):
    images = digits[0][:20]
    array = xr.DataArray(images, dims=("sample", "y", "x"))
    for X in (images, array):
        latents = small_encoder().set_output(transform="pandas").fit_transform(X)
        assert isinstance(latents, pd.DataFrame)
        assert latents.shape == (20, 4)


def test_feature_names_out_number_the_latent_entries(small_encoder, digits):
    enc = small_encoder().fit(digits[0])
    assert list(enc.get_feature_names_out()) == [f"functaencoder{i}" for i in range(4)]


def test_latents_are_single_precision_whatever_the_input(small_encoder, digits):
    images = digits[0][:20]
    for dtype in (np.uint8, np.float32, np.float64):
        assert small_encoder(precision="float64").fit_transform(images.astype(dtype)).dtype == (
            np.float32
        )


def test_fit_transform_is_fit_and_transform(small_encoder, digits):
    images, labels = digits
    together = small_encoder().fit_transform(images, labels)
    np.testing.assert_array_equal(together, small_encoder().fit(images).transform(images))


def test_fit_changes_neither_the_parameters_nor_the_data(small_encoder, digits):
    images = digits[0].copy()
    enc = small_encoder()
    before = dict(enc.get_params())
    enc.fit(images)
    assert enc.get_params() == before
    np.testing.assert_array_equal(images, digits[0])


def test_pipeline_on_x_rays_gives_the_same_for_arrays_and_labelled_millimetres(
    small_encoder, shared_data
):
    with np.load(shared_data / "pneumoniamnist.npz") as file:
        images, labels = file["train_images"][:200], file["train_labels"][:200].ravel()
    millimetres = {"y": 0.7 * np.arange(28) - 11.0, "x": 0.7 * np.arange(28) + 3.0}
    labelled = xr.DataArray(
        images, {"sample": np.arange(200), **millimetres}, ("sample", "y", "x"), name="x_ray"
    ).to_dataset()
    labelled["label"] = ("sample", labels)

    def pipeline():
        enc = small_encoder(latent_dim=16, hidden_dim=16, batch_size=64, max_iter=10)
        return Pipeline([("enc", enc), ("clf", KNeighborsClassifier(5))])

    on_arrays = pipeline().fit(images[:150], labels[:150])
    train, test = labelled.isel(sample=slice(150)), labelled.isel(sample=slice(150, None))
    on_labels = pipeline().fit(train, labels[:150])
    np.testing.assert_array_equal(
        on_arrays[:-1].transform(images[150:]), on_labels[:-1].transform(test)
    )
    score = on_arrays.score(images[150:], labels[150:])
    assert on_labels.score(test, labels[150:]) == score
    assert score > max(labels.mean(), 1 - labels.mean()) - 0.1
