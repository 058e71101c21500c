"""What a notebook shows of an encoder."""

import numpy as np
import pytest
import sklearn
import torch
import xarray as xr
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from neurfield import FunctaEncoder


def table_of(html: str) -> str:
    return html.partition('<table class="neurfield-summary"')[2]


@pytest.fixture
def X(rng):
    coords = {"time": ("time", np.linspace(0, 1, 12), {"units": "<s>"})}
    return xr.DataArray(rng.random((20, 12)), dims=("sample", "time"), coords=coords)


def test_an_unfitted_encoder_shows_the_diagram_alone(small_encoder):
    bundle = small_encoder()._repr_mimebundle_()
    assert "FunctaEncoder" in bundle["text/html"]
    assert table_of(bundle["text/html"]) == ""


def test_a_fitted_encoder_adds_a_summary(small_encoder, X):
    encoder = small_encoder(early_stopping=True).fit(X)
    for html in (encoder._repr_mimebundle_()["text/html"], encoder._repr_html_()):
        table = table_of(html)
        assert "4 numbers per signal" in table
        n_parameters = sum(weights.numel() for weights in encoder.field_.parameters())
        assert f"{n_parameters} shared by all signals" in table
        assert "12: time (&lt;s&gt;)" in table  # labels of the data are text, not markup
        assert f"{np.mean(encoder.psnr_curve_):.1f} dB" in table
        assert f"{max(encoder.validation_curve_):.1f} dB" in table
        assert "cpu, float32" in table


def test_published_weights_without_a_grid_or_a_curve_are_shown():
    latents, width, n_axes = 5, 6, 2
    shapes = {"last_layer.linear": (1, width)}
    for k, n_inputs in enumerate((n_axes, width)):
        shapes[f"layers.{k}.linear"] = (width, n_inputs)
        shapes[f"layers.{k}.modulate_shift_layer"] = (width, latents)
    state = {f"model.{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    state |= {f"model.{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    table = table_of(FunctaEncoder.from_medfuncta(state, omega=30.0)._repr_html_())
    assert "any, 2 axes" in table
    assert "PSNR" not in table


def test_plain_text_display_stays_plain(small_encoder, X):
    encoder = small_encoder().fit(X)
    with sklearn.config_context(display="text"):
        assert set(encoder._repr_mimebundle_()) == {"text/plain"}
        assert not hasattr(encoder, "_repr_html_")


def test_a_pipeline_shows_its_diagram(small_encoder, X):
    pipeline = make_pipeline(small_encoder(), KNeighborsClassifier(1))
    pipeline.fit(X, np.arange(20) % 2)
    html = pipeline._repr_html_()
    assert "FunctaEncoder" in html
    assert "KNeighborsClassifier" in html
    assert "neurfield-summary" in pipeline[0]._repr_html_()
