"""Tables of comparisons: their cells, what is computed again, and what is written."""

import csv
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA

from neurfield import FunctaEncoder, NeuralField, list_presets
from neurfield.cli import main
from neurfield.cli.experiment import NAMES
from neurfield.datasets import digits
from neurfield.evaluation import psnr
from neurfield.evaluation.tables import TABLES, Budget, CellStore, Table, make_data, run_table
from neurfield.evaluation.tables.base import summarise
from neurfield.evaluation.tables.data import resized
from neurfield.evaluation.tables.fits import encoder_methods, kept_mebibytes, make_encoder
from neurfield.evaluation.tables.machine import machine
from neurfield.evaluation.tables.singles import SINGLES, measure_single, single_settings
from neurfield.learning import Cavia, Learner

pytest.importorskip("matplotlib")

TINY = {
    "hidden_dim": 8,
    "n_layers": 3,
    "max_iter": 2,
    "batch_size": 8,
    "learner__inner_steps": 1,
    "device": "cpu",
}
BUDGET = Budget(latent_dim=4, parameters=TINY)
# Batches and contexts are what the ladder sets.
BUDGET_OF_BATCHES = replace(
    BUDGET, parameters={name: TINY[name] for name in TINY if name != "batch_size"}
)
OTHERS = ("block-pca", "autoencoder", "vae", "default", "lapped")


@pytest.fixture(scope="module")
def data():
    return make_data(digits()[:60])


@pytest.fixture
def fits(monkeypatch):
    """Count the fits of encoders and of networks of one signal."""
    counted = []
    for kind in (FunctaEncoder, NeuralField):
        fit = kind.fit
        monkeypatch.setattr(
            kind, "fit", lambda self, X, *rest, fit=fit: (counted.append(1), fit(self, X))[1]
        )
    return counted


def quiet(_line):
    pass


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# --- Every table ---------------------------------------------------------------------------------


def test_the_command_line_knows_every_table():
    assert set(NAMES) == set(TABLES)


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"classification", "equivalence"}))
def test_finished_cells_are_not_computed_again(data, fits, tmp_path, monkeypatch, name):
    monkeypatch.setattr(TABLES["resolution"], "sizes", {2: {"medfuncta-2d-64": 12}})
    table = TABLES[name]()
    rows = run_table(table, data, BUDGET, tmp_path, quiet)
    assert len(fits) > 0
    assert not any("error" in row for row in rows)
    assert len(rows) == len(table.cells(data, BUDGET))
    fits.clear()
    lines = []
    assert run_table(TABLES[name](), data, BUDGET, tmp_path, lines.append) == rows
    assert len(fits) == 0
    assert all("finished before" in line for line in lines)
    written = read_csv(tmp_path / f"{name}.csv")
    assert [float(row["psnr"]) for row in written] == [row["psnr"] for row in rows]
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_changes_a_figure_is_computed_again(data, fits, tmp_path):
    def count(data, **changes):
        fits.clear()
        budget = Budget(**{**vars(BUDGET), "methods": ["varpro"], **changes})
        run_table(TABLES["methods"](), data, budget, tmp_path, quiet)
        return len(fits)

    assert count(data) == 1
    assert count(data) == 0
    assert count(data, seeds=(0, 1, 2)) == 2
    assert count(data, latent_dim=3) == 1
    assert count(data, parameters={**TINY, "max_iter": 3}) == 1
    assert count(make_data(digits()[1:61])) == 1
    assert count(data) == 0


def test_an_interrupted_table_goes_on(data, fits, tmp_path, monkeypatch):
    fit = FunctaEncoder.fit

    def interrupted(self, X, y=None):
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(self, X, y)

    table = TABLES["schedule"]
    monkeypatch.setattr(FunctaEncoder, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_table(table(), data, BUDGET, tmp_path, quiet)
    assert len((tmp_path / "schedule.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "schedule.csv").exists()
    monkeypatch.setattr(FunctaEncoder, "fit", fit)
    fits.clear()
    assert len(run_table(table(), data, BUDGET, tmp_path, quiet)) == 4
    assert len(fits) == 2


class OneThatFails(Table):
    """Fails in one cell of two."""

    name = "failing"
    title = "Failures"
    row_keys = ("cell",)
    computed = 0

    def cells(self, data, budget):
        return [{"cell": 0}, {"cell": 1}]

    def compute(self, settings, data):
        type(self).computed += 1
        if settings["cell"] == 0:
            raise ValueError("no such\nthing")
        return {"psnr": 1.0}

    def draw(self, rows, figure):
        assert [row["cell"] for row in rows] == [1]


def test_a_cell_that_cannot_be_computed_says_why(data, tmp_path):
    lines = []
    run_table(OneThatFails(), data, BUDGET, tmp_path, lines.append)
    assert "[1/2] cell=0: not possible: no such thing" in lines[0]
    failed, good = read_csv(tmp_path / "failing.csv")
    assert (failed["error"], failed["psnr"]) == ("no such thing", "")
    assert (good["error"], good["psnr"]) == ("", "1.0")
    run_table(OneThatFails(), data, BUDGET, tmp_path, quiet)
    assert OneThatFails.computed == 3  # what failed is tried again, what is finished is not
    text = (tmp_path / "failing.md").read_text()
    assert "| cell | psnr | not possible |\n| --- | --- | --- |\n| 0 |  | no such thing |" in text


def test_a_table_without_a_finished_cell_is_refused(data, tmp_path):
    class Hopeless(OneThatFails):
        def cells(self, data, budget):
            return [{"cell": 0}]

    with pytest.raises(ValueError, match=r"none of the 1 cells of 'failing' .*: no such thing"):
        run_table(Hopeless(), data, BUDGET, tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_table_in_markdown_says_what_where_and_how(data, tmp_path):
    class Chosen(OneThatFails):
        """Two cells.

        Nothing else.
        """

        def compute(self, settings, data):
            return {"psnr": 30.123 + settings["cell"], "ssim": 0.91234, "meta_steps": 1234.0}

        def draw(self, rows, figure):
            figure.subplots().plot([row["psnr"] for row in rows])

    run_table(Chosen(), data, BUDGET, tmp_path, quiet, "make it so")
    text = (tmp_path / "failing.md").read_text()
    assert text.startswith("# Failures\n\nTwo cells.\n\nNothing else.\n")
    assert "```sh\nmake it so\n```" in text
    assert "- learns from 45 signals of 8 × 8 (y, x)\n" in text
    assert "- measured on 15 signals of 8 × 8 (y, x)\n" in text
    assert f"- {machine()}\n" in text
    assert "| cell | psnr | ssim | meta steps |" in text
    assert "| 1 | 31.12 | 0.912 | 1234 |" in text
    assert "![Failures](failing.svg)" in text
    assert "<svg" in (tmp_path / "failing.svg").read_text()


def test_pictures_of_the_same_rows_are_the_same_files(data, tmp_path):
    budget = replace(BUDGET, methods=["mean", "pca"])
    written = []
    for _ in range(2):
        run_table(TABLES["methods"](), data, budget, tmp_path, quiet)
        written.append((tmp_path / "methods.svg").read_bytes())
    assert written[0] == written[1]


def test_cells_of_another_machine_say_so(data, tmp_path):
    run_table(OneThatFails(), data, BUDGET, tmp_path, quiet)
    path = tmp_path / "failing.jsonl"
    path.write_text(path.read_text().replace(json.dumps(machine())[1:-1], "an abacus"))
    run_table(OneThatFails(), data, BUDGET, tmp_path, quiet)
    assert "- an abacus\n" in (tmp_path / "failing.md").read_text()
    assert machine() not in (tmp_path / "failing.md").read_text()


def test_a_damaged_store_is_named(tmp_path):
    path = tmp_path / "t.jsonl"
    store = CellStore(path)
    key = store.key("data", {"a": 1})
    store.add(key, {"psnr": 1.5}, "a machine")
    assert CellStore(path).get(store.key("data", {"a": 1})) == {"psnr": 1.5}
    assert CellStore(path).get(store.key("other", {"a": 1})) is None
    path.write_text(path.read_text() + '{"key": 1')
    with pytest.raises(ValueError, match=r"t\.jsonl: line 2 is no finished cell"):
        CellStore(path)


def test_rows_are_means_over_seeds():
    results = [
        ({"m": "a", "seed": 0}, {"psnr": 1.0, "only": 2}),
        ({"m": "a", "seed": 1}, {"psnr": 3.0}),
        ({"m": "b", "seed": 0}, {"psnr": 5.0, "error": "why"}),
    ]
    a, b = summarise(results, ["m"])
    assert a == {"m": "a", "cells": 2, "psnr": 2.0, "psnr_std": 2**0.5, "only": 2.0}
    assert b == {"m": "b", "cells": 1, "psnr": 5.0, "error": "why"}


def test_a_figure_that_one_seed_has_not_reached_is_not_a_number_in_the_mean():
    results = [({"m": "a"}, {"psnr": 1.0}), ({"m": "a"}, {"psnr": math.nan})]
    (row,) = summarise(results, ["m"])
    assert math.isnan(row["psnr"])
    assert math.isnan(row["psnr_std"])


def test_memory_is_what_reduced_contexts_save_and_a_larger_batch_spends(data, tmp_path):
    rows = run_table(TABLES["ladder"](), data, BUDGET_OF_BATCHES, tmp_path, quiet)
    assert [row["parts"][:1] for row in rows] == ["b", "+", "+", "+", "+"]
    kept = [row["kept_mib"] for row in rows]
    assert kept[0] == pytest.approx(kept[2], rel=0.01)
    assert kept[3] < 0.6 * kept[2]
    assert kept[4] > 2 * kept[3]


def test_sizes_are_resampled_by_means_and_cost_is_told_where_time_is_short(data, tmp_path):
    table = TABLES["resolution"]()
    table.sizes = {2: {"medfuncta-2d-64": 4}}
    budget = replace(BUDGET, max_time=1e-9)
    published, default = run_table(table, data, budget, tmp_path, quiet)
    assert published["method"] == "medfuncta-2d-64"
    assert published["seconds_per_100_steps"] > 0
    assert "psnr" not in published
    assert default["psnr"] > 0
    assert default["latent_dim"] == 4
    halved = resized(data, (4, 4))
    expected = np.asarray(data.train).reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(halved.train.values[..., 0], expected, rtol=1e-6)


def test_pictures_carry_their_values_and_tables_do_not(data, tmp_path):
    (row,) = run_table(
        TABLES["panels"](), data, replace(BUDGET, methods=["default"]), tmp_path, quiet
    )
    assert row["_values"]["shape"] == [3, 8, 8, 1]
    assert "_values" not in (tmp_path / "panels.csv").read_text()
    assert "float16" not in (tmp_path / "panels.md").read_text()


# --- The methods ---------------------------------------------------------------------------------


def test_every_preset_and_every_learner_of_any_field_is_a_method():
    known = Learner.known()
    learners = {name for name in known if known[name].families is None}
    assert {"cavia", "varpro"} <= learners
    for n_axes in (1, 2, 3):
        names = encoder_methods(n_axes)
        assert len(names) == len(set(names))
        assert learners <= set(names)
    everywhere = set().union(*(encoder_methods(n) for n in (1, 2, 3)))
    assert everywhere == set(list_presets()) | learners
    assert "medfuncta-1d" not in encoder_methods(2)


def test_equal_latent_size_and_time(data):
    cells = TABLES["methods"]().cells(data, Budget(latent_dim=16, max_time=5.0, seeds=(0, 1)))
    fitted = [cell for cell in cells if cell["method"] in encoder_methods(2)]
    lengths = {cell["method"]: cell["parameters"]["latent_dim"] for cell in fitted}
    assert lengths.pop("coin++-patched") == 4  # for each of 2 × 2 patches
    assert set(lengths.values()) == {16}
    (grids,) = {tuple(c["parameters"].get("field__grid", ())) for c in fitted} - {()}
    assert grids == (2, 2)
    rates = {cell["method"]: cell["parameters"].get("meta_lr") for cell in fitted}
    assert rates["varpro"] is None
    assert rates["functa"] == rates["cavia"] == 3e-4
    assert {cell["parameters"]["max_time"] for cell in fitted} == {5.0}
    assert {cell["parameters"]["hidden_dim"] for cell in fitted} == {64}
    assert len(fitted) == 2 * len(encoder_methods(2))
    full = TABLES["methods"]().cells(data, Budget(full=True))
    assert [c["parameters"] for c in full if c["method"] == "medfuncta-2d-64"] == [
        {"latent_dim": 256}
    ]


def test_peers_have_the_latent_size_and_the_time_of_encoders(data, tmp_path):
    budget = Budget(latent_dim=8, max_time=5.0, parameters={**TINY, "omega": 3.0}, methods=OTHERS)
    cells = {cell["method"]: cell for cell in TABLES["methods"]().cells(data, budget)}
    for method in ("autoencoder", "vae", "default", "lapped"):
        chosen = {**cells[method]["parameters"], "latent_dim": 8}
        assert chosen == {  # nothing of the network
            "latent_dim": 8,
            "max_time": 5.0,
            "max_iter": 2,
            "batch_size": 8,
            "device": "cpu",
        }
    rows = run_table(TABLES["methods"](), data, budget, tmp_path, quiet)
    assert [row["method"] for row in rows] == list(OTHERS)
    assert {row["latent_dim"] for row in rows} == {8}
    assert np.isfinite([[row["psnr"], row["parameters"], row["encode_ms"]] for row in rows]).all()
    minute = TABLES["methods"]().cells(data, Budget(methods=OTHERS[1:]))
    assert {cell["parameters"]["max_time"] for cell in minute} == {60.0}
    full = TABLES["methods"]().cells(data, Budget(full=True, methods=["default", "vae"]))
    assert [cell["parameters"] for cell in full] == [{"max_time": 3600.0}, {"latent_dim": 256}]


def test_the_defaults_choose_for_themselves(data):
    auto, lapped = (make_encoder(name, {"latent_dim": 8}, 3) for name in ("default", "lapped"))
    expected = FunctaEncoder(8, random_state=3).get_params(deep=False)
    assert auto.get_params(deep=False) == expected
    assert lapped.get_params(deep=False) == {**expected, "field": "lapped"}
    with pytest.raises(ValueError, match="'default' has no parameter 'depth'"):
        TABLES["methods"]().cells(data, Budget(methods=["default"], parameters={"depth": 3}))


def test_latents_longer_than_the_published_rank(data):
    long = TABLES["methods"]().cells(data, Budget(latent_dim=300, methods=["lrm-functa"]))
    assert [cell["parameters"]["field__intermediate_dim"] for cell in long] == [300]


def test_networks_of_single_signals(data, tmp_path):
    budget = Budget(latent_dim=5, seeds=(0, 1), methods=["mean", *SINGLES])
    cells = [c for c in TABLES["methods"]().cells(data, budget) if c["method"] in SINGLES]
    assert len(cells) == 4
    assert all(c["signals"] == 8 for c in cells)  # of 15
    assert {c["parameters"]["max_time"] for c in cells} == {60 / 8}
    few = replace(budget, max_time=4.0, parameters={**TINY, "max_iter": 30})
    _, siren, fourier = run_table(TABLES["methods"](), data, few, tmp_path, quiet)
    for row in (siren, fourier):
        assert (row["signals"], row["cells"]) == (8, 2)
        assert row["latent_dim"] == row["parameters"]
        assert np.isfinite([row["psnr"], row["encode_ms"]]).all()
    # Three layers of 8: two coordinates go in, or sine and cosine of eight frequencies.
    assert siren["latent_dim"] == (2 * 8 + 8) + (8 * 8 + 8) + (8 + 1)
    assert fourier["latent_dim"] == (16 * 8 + 8) + (8 * 8 + 8) + (8 + 1)
    full = TABLES["methods"]().cells(data, replace(budget, full=True, parameters={}))
    assert [c["signals"] for c in full if c["method"] in SINGLES] == [15] * 4
    assert {len(c["parameters"]) for c in full if c["method"] in SINGLES} == {0}


@pytest.mark.parametrize("shape", [(400,), (28, 28), (28, 28, 3), (8, 12, 8)])
@pytest.mark.parametrize("method", SINGLES)
def test_a_single_network_is_as_wide_as_a_quarter_of_the_values(rng, shape, method):
    dims = ("sample", "z", "y", "x")[: len(shape) + 1]
    dims = ("sample", "y", "x", "channel") if shape == (28, 28, 3) else dims
    data = make_data(xr.DataArray(rng.random((4, *shape)), dims=dims))
    chosen = single_settings(method, Budget(parameters={"max_iter": 1}), data)["parameters"]

    def weights(**other):
        return measure_single(method, 1, {**chosen, **other}, data, 0)["parameters"]

    assert weights() <= np.prod(shape) / 4 < weights(hidden_dim=chosen["hidden_dim"] + 1)


def test_single_networks_are_measured_by_the_same_rule(data):
    chosen = {"hidden_dim": 6, "n_layers": 3, "max_iter": 40, "device": "cpu"}
    figures = measure_single("inr-siren", len(data.test), chosen, data, 7)
    fields = [NeuralField(**chosen, random_state=7).fit(image) for image in data.test]
    decoded = np.clip([field.predict().values for field in fields], 0, 1)
    assert figures["psnr"] == pytest.approx(psnr(data.test.values, decoded).mean(), abs=1e-3)
    assert figures["latent_dim"] == fields[0].field_.n_parameters


def test_unknown_methods_are_refused(data):
    for name in ("methods", "classification"):
        with pytest.raises(ValueError, match=r"some of \[.*'varpro'.*got \['resnet'\]"):
            TABLES[name]().cells(data, Budget(methods=["resnet"]))


def test_peers_are_measured_by_the_same_rule(data, tmp_path):
    budget = Budget(latent_dim=5, methods=["pca", "mean"])
    mean, pca = run_table(TABLES["methods"](), data, budget, tmp_path, quiet)
    train, test = (part.values.reshape(len(part), -1) for part in (data.train, data.test))
    model = PCA(5).fit(train)
    decoded = np.clip(model.inverse_transform(model.transform(test)), 0, 1)
    assert pca["psnr"] == pytest.approx(psnr(test, decoded).mean(), abs=1e-3)
    assert pca["latent_dim"] == 5
    blank = np.broadcast_to(train.mean(axis=0), test.shape)
    assert mean["psnr"] == pytest.approx(psnr(test, blank).mean(), abs=1e-6)


def test_signals_on_grids_of_their_own(rng, tmp_path):
    volumes = [
        xr.DataArray(
            rng.random((6 + i % 3, 7)),
            dims=("y", "x"),
            coords={"y": np.arange(6 + i % 3) * 0.5, "x": np.arange(7.0)},
        )
        for i in range(8)
    ]
    data = make_data(volumes)
    budget = Budget(latent_dim=3, parameters=TINY, methods=["pca", "vae", "inr-siren", "varpro"])
    pca, vae, single, varpro = run_table(TABLES["methods"](), data, budget, tmp_path, quiet)
    assert "grids of their own" in pca["error"]
    assert "grids of their own" in vae["error"]
    assert np.isfinite([single["psnr"], varpro["psnr"]]).all()
    assert "classes" in str(error_of(lambda: run("classification", data, tmp_path)))


# --- Convergence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(400,), (28, 28), (20, 20, 3), (8, 12, 8)])
def test_networks_have_as_many_weights_as_the_signal_has_values(rng, shape):
    dims = ("sample", "z", "y", "x")[: len(shape) + 1]
    dims = ("sample", "y", "x", "channel") if shape == (20, 20, 3) else dims
    data = make_data(xr.DataArray(rng.random((4, *shape)), dims=dims))
    cells = TABLES["convergence"]().cells(data, Budget(parameters={"max_iter": 1}))
    assert [cell["field"] for cell in cells] == list(TABLES["convergence"].fields)
    for cell in cells:
        weights = TABLES["convergence"]().compute(cell, data)["parameters"]
        assert 0.8 * np.prod(shape) < weights <= np.prod(shape)


def test_seconds_and_fields_of_a_convergence_table_are_the_callers(data):
    def cells(**budget):
        return TABLES["convergence"]().cells(data, Budget(**budget))

    assert {cell["parameters"]["max_time"] for cell in cells()} == {10.0}
    assert {cell["parameters"]["max_time"] for cell in cells(full=True)} == {600.0}
    assert {cell["parameters"]["max_time"] for cell in cells(max_time=3.0)} == {3.0}
    assert [cell["field"] for cell in cells(methods=["wire"], seeds=(0, 1))] == ["wire"] * 2
    with pytest.raises(ValueError, match=r"methods must be some of .*got \['pca'\]"):
        cells(methods=["pca"])


def test_marks_of_convergence_are_what_the_field_was_then(data, monkeypatch, tmp_path):
    # A clock that ticks once at each look makes iterations equally long: it is looked at when the
    # fit begins, at each iteration's beginning and at its end.
    ticks = itertools.count()
    monkeypatch.setattr("neurfield.learning.regression.time.perf_counter", lambda: next(ticks))
    budget = Budget(methods=["siren"], max_time=200.0, parameters={"device": "cpu"})
    (row,) = run_table(TABLES["convergence"](), data, budget, tmp_path, quiet)
    assert row["iterations"] == 100
    image = data.test[0]
    for mark, psnr_then in ((0.13, row["psnr_at_0.13"]), (1.0, row["psnr"])):
        ticks = itertools.count()
        (cell,) = TABLES["convergence"]().cells(data, budget)
        stop = [lambda progress, mark=mark: progress.elapsed >= mark * 200]
        field = NeuralField("siren", **cell["parameters"], callbacks=stop, random_state=0)
        found = np.clip(field.fit(image).predict().values, 0, 1)
        assert psnr_then == pytest.approx(psnr(image.values[None], found[None])[0], abs=1e-3)
    assert row["psnr_at_1"] == row["psnr"] > row["psnr_at_0.13"] > row["psnr_at_0.01"]


def error_of(function):
    with pytest.raises(ValueError) as info:  # noqa: PT011 - the caller looks at the message
        function()
    return info.value


def run(name, data, folder, budget=BUDGET):
    return run_table(TABLES[name](), data, budget, folder, quiet)


def test_memory_falls_with_the_context(data):
    kept = [
        kept_mebibytes(
            FunctaEncoder(4, learner=Cavia(context_ratio=ratio), random_state=0).set_params(**TINY),
            data,
        )
        for ratio in (1.0, 0.5)
    ]
    assert 0 < kept[1] < 0.8 * kept[0]


# --- Classification ------------------------------------------------------------------------------


def test_the_classification_table(fits, tmp_path, monkeypatch):
    pytest.importorskip("monai")
    data = make_data(digits()[:40])
    monkeypatch.setattr("neurfield.evaluation.tables.classifiers.REDUCED_EPOCHS", 1)
    rows = run("classification", data, tmp_path)
    assert [(row["features"], row["classifier"]) for row in rows] == [
        ("varpro", "knn"),
        ("varpro", "knn-chosen"),
        ("varpro", "mlp"),
        ("pca", "knn"),
        ("pca", "knn-chosen"),
        ("pca", "mlp"),
        ("pixels", "resnet50"),
        ("pixels", "efficientnet-b0"),
    ]
    assert not any("error" in row for row in rows)
    assert len(fits) == 1  # the classifiers of the latents share one encoder
    for row in rows:
        assert 0 <= row["accuracy"] <= 1
        assert {"macro_f1", "auc", "fit_seconds", "parameters", "encoder_seconds"} <= set(row)
    assert rows[6]["parameters"] > rows[7]["parameters"] > rows[2]["parameters"] > 0
    assert rows[1]["n_neighbors"] in (1, 3, 5, 7, 10, 15, 20)
    assert "n_neighbors" not in rows[2]
    fits.clear()
    assert run("classification", data, tmp_path) == rows
    assert len(fits) == 0


def test_classification_needs_classes(tmp_path):
    data = make_data(digits()[:20].drop_vars("label"))
    assert "needs signals with labels" in str(
        error_of(lambda: run("classification", data, tmp_path))
    )


# --- The data ------------------------------------------------------------------------------------


def test_a_quarter_is_held_out_of_each_class():
    data = make_data(digits()[:400])
    assert (len(data.train), len(data.test)) == (300, 100)
    share = [np.bincount(labels, minlength=10) for labels in (data.train_labels, data.test_labels)]
    assert np.abs(share[0] - 3 * share[1]).max() <= 4
    values = [part.values for part in (data.train, data.test)]
    assert (values[0].min(), values[0].max()) == (0, 1)
    assert not {v.tobytes() for v in values[0]} & {v.tobytes() for v in values[1]}


def test_records_are_not_divided(rng):
    signals = xr.DataArray(
        rng.random((40, 9)),
        dims=("sample", "time"),
        coords={"record": ("sample", np.repeat(list("abcdefgh"), 5)), "time": np.arange(9.0)},
    )
    data = make_data(signals)
    groups = [set(part["record"].values) for part in (data.train, data.test)]
    assert len(groups[1]) == 2
    assert not groups[0] & groups[1]


def test_given_parts_limits_and_units():
    signals = 7 * digits() - 3
    data = make_data(signals[:50], signals[50:90], limits=(20, 10))
    assert (len(data.train), len(data.test), data.n_axes) == (20, 10, 2)
    assert (float(data.train.min()), float(data.train.max())) == (0, 1)
    again = make_data(signals[:50], signals[50:90], limits=(20, 10))
    assert data.digest == again.digest != make_data(signals[:50], signals[50:89]).digest


def test_signals_are_resampled_over_their_own_extent():
    volumes = [
        xr.DataArray(
            np.linspace(0, 1, n)[:, None] * np.ones(5),
            dims=("y", "x"),
            coords={"y": np.linspace(3, 4 + n, n), "x": np.arange(5.0)},
        )
        for n in (6, 9, 7, 8)
    ]
    data = make_data(volumes, grid=[11, 4])
    assert data.train.shape[1:] == (11, 4)
    np.testing.assert_allclose(data.train[:, :, 0], np.tile(np.linspace(0, 1, 11), (3, 1)), 1e-6)
    with pytest.raises(ValueError, match=r"grid needs 2 positive numbers .*got \[4\]"):
        make_data(volumes, grid=[4])


# --- The command ---------------------------------------------------------------------------------


def experiment(*arguments):
    return main(["experiment", *map(str, arguments)])


def test_one_command_writes_a_table(capsys, tmp_path):
    options = [f"--set={name}={value}" for name, value in TINY.items()]
    command = ["schedule", "digits", "--limit", "40", "-o", tmp_path / "out", "--latent-dim", "4"]
    assert experiment(*command, "--seeds", "0", "1", *options) == 0
    out = capsys.readouterr().out
    assert "learns from 30 signals of 8 × 8 (y, x)" in out
    assert "[8/8]" in out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"schedule.{ending}" for ending in ("csv", "jsonl", "md", "png", "svg")]
    rows = read_csv(tmp_path / "out" / "schedule.csv")
    assert [row["cells"] for row in rows] == ["2"] * 4
    assert all(float(row["psnr_std"]) >= 0 for row in rows)
    cell = json.loads((tmp_path / "out" / "schedule.jsonl").read_text().splitlines()[0])
    assert cell["key"]["settings"]["parameters"]["latent_dim"] == 4
    assert experiment(*command, "--seeds", "0", "1", *options) == 0
    assert capsys.readouterr().out.count("finished before") == 8


def test_splits_of_a_file(capsys, tmp_path):
    images = digits().values[:60]
    np.savez(tmp_path / "a.npz", train_images=images[:40], test_images=images[40:])
    options = ["--methods", "mean", "--splits", "train", "test", "-o", tmp_path]
    assert experiment("methods", tmp_path / "a.npz", *options) == 0
    out = capsys.readouterr().out
    assert "learns from 40 signals of 8 × 8" in out
    assert "measured on 20 signals" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["methods", "digits"], "-o FOLDER"),
        (["methods", "digits", "-o", "nowhere/out"], "nowhere: no such folder"),
        (["methods", "digits", "--json", "a.json"], "unrecognized arguments: --json"),
        (["a.field", "digits"], "invalid choice: 'a.field'"),
        (["methods", "digits", "-o", ".", "--only", "a"], "--only belongs to 'all'"),
        (["all", ".", "-o", ".", "--grid", "3"], "--grid belongs to a single experiment"),
        (["all", ".", "-o", ".", "--only", "gamma-none"], "there is no study 'gamma-none'"),
        (["all", ".", "-o", "."], "has none of mitbih"),
        (["methods", "digits", "-o", ".", "--set", "a"], "--set takes NAME=VALUE, got 'a'"),
        (["omega", "digits", "-o", ".", "--set", "depth=3"], "'varpro' has no parameter 'depth'"),
        (
            ["omega", "digits", "-o", ".", "--split", "a", "--splits", "a", "b"],
            "either --splits or --split",
        ),
    ],
)
def test_wrong_usage_is_one_line(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert experiment(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
