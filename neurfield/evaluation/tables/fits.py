"""Fits of encoders and of their peers, measured alike."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from neurfield import FunctaEncoder, list_presets
from neurfield.evaluation.classification import classification_scores
from neurfield.evaluation.reconstruction import Arrays, Scores, compare, decoded, values_of
from neurfield.evaluation.tables.base import Budget, Cell, Figures
from neurfield.evaluation.tables.data import TableData, in_range
from neurfield.fields import LowRank, Spatial
from neurfield.learning import Cavia, Learner, Progress
from neurfield.presets import preset_parameters
from neurfield.signals import read_signals

REDUCED_LATENT_DIM, _FULL_LATENT_DIM = 64, 256
REDUCED_SECONDS = 60.0  # of training
#: Size of all networks in the reduced form.
REDUCED_NETWORK = {"hidden_dim": 64, "n_layers": 5}
#: The published learning rate needs 10⁶ steps to show anything; the reduced form takes this one for
#: whatever CAVIA trains.
REDUCED_META_LR = 3e-4

#: Encoders that nothing is chosen for but what is named here, by the name of the method.
LEFT_ALONE: dict[str, dict[str, Any]] = {"default": {}, "lapped": {"field": "lapped"}}

#: Parameters that mean the same for whatever is trained.
OF_TRAINING = {"batch_size", "device", "max_iter", "max_time"}

_PUBLISHED = {1: "medfuncta-1d", 2: "medfuncta-2d-64", 3: "medfuncta-3d-32"}


def encoder_methods(n_axes: int) -> list[str]:
    """Return the names of all presets and learners for signals of so many axes.

    Presets that carry a dimension in their name ("medfuncta-2d-64") are for that one alone. A
    learner of some families of fields alone cannot have the network that all others are given.
    """
    presets = [
        name
        for name in list_presets()
        if (match := re.search(r"-(\d)d(-|$)", name)) is None or int(match[1]) == n_axes
    ]
    learners = {name for name, learner in Learner.known().items() if learner.families is None}
    return presets + sorted(learners - set(presets))


def check_methods(chosen: Sequence[str] | None, known: Sequence[str]) -> None:
    """Refuse names that are none of the methods.

    Raises
    ------
    ValueError
        If there is one.
    """
    if unknown := sorted(set(chosen or ()) - set(known)):
        raise ValueError(f"methods must be some of {list(known)}, got {unknown}")


def make_encoder(method: str, parameters: Mapping[str, Any], seed: int) -> FunctaEncoder:
    """Return an unfitted encoder: a preset, a learner or a default by name, with parameters."""
    chosen = {name: _pair(value) for name, value in parameters.items()}
    if method in LEFT_ALONE:
        return FunctaEncoder(**LEFT_ALONE[method], random_state=seed).set_params(**chosen)
    if method in list_presets():
        return FunctaEncoder.from_preset(method, **chosen, random_state=seed)
    # Learners are compared on one family of fields, whatever size the signals have.
    return FunctaEncoder(learner=method, field="siren", random_state=seed).set_params(**chosen)


def encoder_of(settings: Cell) -> FunctaEncoder:
    """Return the unfitted encoder that a cell names by its method, parameters and seed."""
    return make_encoder(settings["method"], settings["parameters"], settings["seed"])


def latent_dim_of(budget: Budget) -> int:
    """Return the latent size that methods have in common."""
    return budget.latent_dim or (_FULL_LATENT_DIM if budget.full else REDUCED_LATENT_DIM)


def minute_of(method: str) -> dict[str, float]:
    """Return what lets a method train for a minute."""
    minute = {"max_time": REDUCED_SECONDS}
    if isinstance(Learner.of(make_encoder(method, {}, 0).learner), Cavia):
        minute["meta_lr"] = REDUCED_META_LR
    return minute


def latents_of_length(method: str, latent_dim: int, data: TableData) -> dict[str, Any]:
    """Return what gives a method latents of one length in all, whatever they are made of.

    Fields of patches have two of them along each axis. A grid of vectors has about as many cells
    as each vector has numbers, like the published one.
    """
    preset = preset_parameters(method) if method in list_presets() else {}
    if "patch_size" in preset:
        halves = [math.ceil(size / 2) for size in data.shape]
        return {"patch_size": halves, "latent_dim": max(1, latent_dim // 2 ** len(halves))}
    chosen: dict[str, Any] = {"latent_dim": latent_dim}
    field = preset.get("field")
    if isinstance(field, LowRank):  # the latent is a rank, which it bounds
        chosen["field__intermediate_dim"] = max(field.intermediate_dim, latent_dim)
    if isinstance(field, Spatial):
        cells, d = 1, data.n_axes
        while (2 * cells) ** (2 * d) <= latent_dim and latent_dim % (2 * cells) ** d == 0:
            cells *= 2
        chosen["field__grid"] = [cells] * d
    return chosen


def encoder_parameters(
    method: str, budget: Budget, reduced: Mapping[str, Any] | None = None, **own: Any
) -> dict[str, Any]:
    """Return what a cell sets: reduced sizes unless in full, then its own, then the caller's.

    Raises
    ------
    ValueError
        If the encoder has no parameter of a name, or what it is made with no such option.
    """
    parameters: dict[str, Any] = {}
    if not budget.full:
        parameters = {"latent_dim": REDUCED_LATENT_DIM, **REDUCED_NETWORK, **(reduced or {})}
    if budget.latent_dim is not None:
        parameters["latent_dim"] = budget.latent_dim
    parameters |= own
    if budget.max_time is not None:
        parameters["max_time"] = budget.max_time
    parameters |= budget.parameters
    known = set(make_encoder(method, {}, 0).get_params(deep=False))
    chosen = {name: value for name, value in parameters.items() if "__" not in name}
    if known.issuperset(chosen):  # with the options of the field and the learner that it is given
        known = set(make_encoder(method, chosen, 0).get_params())
    if unknown := sorted(set(parameters) - known):
        raise ValueError(f"{method!r} has no parameter {unknown[0]!r}; it has {sorted(known)}")
    return parameters


def default_parameters(method: str, budget: Budget, latent_dim: int) -> dict[str, Any]:
    """Return what is set of an encoder that is left alone: its latent size, and its time.

    Of the caller's parameters those of :data:`OF_TRAINING` hold; network and learner are what the
    encoder itself chooses.

    Raises
    ------
    ValueError
        If the encoder has no parameter of a name.
    """
    plain = {name: value for name, value in budget.parameters.items() if "__" not in name}
    minute: dict[str, Any] = {} if budget.full else {"max_time": REDUCED_SECONDS}
    alone = replace(budget, full=True, parameters=plain)
    parameters = encoder_parameters(method, alone, **minute, latent_dim=latent_dim)
    kept = {"latent_dim", *OF_TRAINING}
    return {name: value for name, value in parameters.items() if name in kept}


def method_parameters(
    method: str, budget: Budget, latent_dim: int, data: TableData
) -> dict[str, Any]:
    """Return what a cell sets of any encoder, so that its latents have the same length.

    Raises
    ------
    ValueError
        If the encoder has no parameter of a name.
    """
    if method in LEFT_ALONE:
        return default_parameters(method, budget, latent_dim)
    length = latents_of_length(method, latent_dim, data)
    return encoder_parameters(method, budget, minute_of(method), **length)


def published(n_axes: int) -> str:
    """Return the name of the published configuration for signals of so many axes."""
    return _PUBLISHED[min(n_axes, 3)]


def measure_encoder(encoder: FunctaEncoder, data: TableData, neighbors: bool = False) -> Figures:
    """Fit an encoder, and measure it on the signals it has not seen.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted in place.
    data : TableData
        Signals to learn from and to measure on, with labels where there are classes.
    neighbors : bool, default=False
        Whether 5 nearest neighbours classify the latents too, where there are classes.

    Returns
    -------
    dict
        Size, times, and the means of the measures of reconstruction.
    """
    found, latents, figures = reconstructed(encoder, data)
    figures = {**measured(data, found).means(), **figures}
    if neighbors and data.has_classes:
        classifier = KNeighborsClassifier(min(5, len(data.train)))
        scores = labelled_scores(classifier, encoder.transform(data.train), latents, data)
        figures |= {f"knn_{name}": scores[name] for name in ("accuracy", "macro_f1")}
    return figures


def reconstructed(
    encoder: FunctaEncoder, data: TableData
) -> tuple[Arrays, NDArray[np.float32], Figures]:
    """Fit an encoder in place, and encode and decode the signals to measure on.

    Returns
    -------
    tuple
        Decoded values, latents, and the encoder's size and times.
    """
    clock = _StepClock()
    encoder.set_params(callbacks=[clock])
    start = time.perf_counter()
    encoder.fit(data.train)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    latents = encoder.transform(data.test)
    encoding = time.perf_counter() - start
    figures: Figures = {
        "latent_dim": latents.shape[1],
        "parameters": encoder.field_.n_parameters,
        "fit_seconds": seconds,
        "meta_steps": encoder.n_iter_,
        "seconds_per_100_steps": clock.per_step() * 100,
        "encode_ms": 1000 * encoding / len(latents),
    }
    return values_of(decoded(encoder, data.test, latents)), latents, figures


def measure_cost(encoder: FunctaEncoder, data: TableData, n_steps: int = 2) -> Figures:
    """Return what a few meta-steps of an encoder cost, without what comes after them.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted in place.
    data : TableData
        Signals to learn from.
    n_steps : int, default=2
        How many, of which the first warms up and does not count.
    """
    clock = _StepClock()
    encoder.set_params(callbacks=[clock], max_iter=n_steps, max_time=None).fit(data.train)
    return {
        "latent_dim": encoder.latent_dim,
        "parameters": encoder.field_.n_parameters,
        "seconds_per_100_steps": clock.per_step() * 100,
    }


def labelled_scores(classifier: Any, train: Any, test: Any, data: TableData) -> Figures:
    """Return how well a classifier tells the classes of the data apart by features of its parts."""
    assert data.train_labels is not None
    assert data.test_labels is not None
    return classification_scores(
        classifier,
        train,
        data.train_labels,
        test,
        data.test_labels,
        label_names=data.label_names or None,
    )


def measure_pca(n_components: int, data: TableData, seed: int) -> Figures:
    """Measure PCA in an encoder's place.

    Raises
    ------
    ValueError
        If the signals stand on grids of their own.
    """
    train, test = data.flat()
    pca = PCA(min(n_components, *train.shape), random_state=seed)
    figures = measure_coder(pca, train, test, data)
    return {**figures, "parameters": int(pca.components_.size + pca.mean_.size)}


def measure_coder(coder: Any, train: NDArray[Any], test: NDArray[Any], data: TableData) -> Figures:
    """Fit what codes signals and decodes them in place, and measure it.

    Parameters
    ----------
    coder : estimator
        With ``fit``, ``transform`` and ``inverse_transform``.
    train, test : arrays of shape (n_samples, ...)
        Both parts of the data as it takes them.
    data : TableData
        Signals to measure on.
    """
    start = time.perf_counter()
    coder.fit(train)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    codes = coder.transform(test)
    encoding = time.perf_counter() - start
    found = coder.inverse_transform(codes).astype(np.float64)
    found = found.reshape(np.shape(values_of(data.test)))
    return {
        **measured(data, found).means(),
        "latent_dim": codes.shape[1],
        "fit_seconds": seconds,
        "encode_ms": 1000 * encoding / len(test),
    }


def measure_mean(data: TableData) -> Figures:
    """Measure the mean training signal as the reconstruction of all.

    Raises
    ------
    ValueError
        If the signals stand on grids of their own.
    """
    train, test = data.stacked()
    mean = np.broadcast_to(np.nanmean(train, axis=0), test.shape)
    return {**measured(data, mean).means(), "latent_dim": 0, "parameters": train[0].size}


def measured(data: TableData, found: Arrays) -> Scores:
    """Return the scores of values in the place of the signals to measure on."""
    return compare(values_of(data.test), in_range(found), 0.0, 1.0)


def measure_with_memory(settings: Cell, data: TableData) -> Figures:
    """Measure the encoder of a cell that CAVIA trains, and the memory its graph takes."""
    figures = measure_encoder(encoder_of(settings), data)
    return {**figures, "kept_mib": kept_mebibytes(encoder_of(settings), data)}


def kept_mebibytes(encoder: FunctaEncoder, data: TableData) -> float:
    """Return how much memory the graph of one unrolled meta-step of CAVIA takes.

    Counted are the distinct tensors that autograd saves when it differentiates all inner steps of
    the whole batch at once, as published; this is what grows with the number of points, whatever
    machine computes it.
    """
    encoder.set_params(max_iter=1, max_time=None).fit(data.train)
    learner = encoder.learner_
    assert isinstance(learner, Cavia)
    store = encoder.codec_.store(read_signals(data.train))
    batch = learner.draw(store, torch.Generator().manual_seed(0))
    step, context = learner.meta_step(encoder.field_), batch.context
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage  # kept alive, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        context.mse(encoder.field_(context.coords, step.adapt(batch))).mean()
    return sum(storage.nbytes() for storage in storages.values()) / 2**20


class _StepClock:
    """A callback that measures the time of a meta-step, without the first, which warms up."""

    def __init__(self) -> None:
        self._first: Progress | None = None
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self._first = self._first or progress
        self._last = progress

    def per_step(self) -> float:
        """Return seconds per meta-step."""
        if self._first is None or self._last is None:
            return float("nan")
        steps = self._last.iteration - self._first.iteration
        if steps == 0:
            return self._last.elapsed
        return (self._last.elapsed - self._first.elapsed) / steps


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
