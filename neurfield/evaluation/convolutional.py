"""The peers that classify signals themselves instead of their latents."""

from __future__ import annotations

from numbers import Integral
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array, check_X_y
from torch import Tensor, nn
from torch.nn import functional

from neurfield._compat import StrOptions
from neurfield.evaluation.reading import check_shape, with_channels_last
from neurfield.evaluation.training import NetworkClassifier
from neurfield.optional import require

_DIVISOR = 32  # both networks halve their input five times
_MODULES = {
    "resnet50": "monai.networks.nets.resnet",
    "efficientnet-b0": "monai.networks.nets.efficientnet",
}


class CNNClassifier(NetworkClassifier):
    """ResNet-50 or EfficientNet-B0 on series, images or volumes, from MONAI, trained from scratch.

    Parameters
    ----------
    architecture : {"resnet50", "efficientnet-b0"}, default="resnet50"
        Both with as many axes as the signals have.
    channel_axis : int, default=None
        Which axis of the input, the sample axis counted, holds channels; None = one channel.
    max_iter : int, default=50
        Epochs.
    batch_size : int, default=32
        Samples in a step.
    learning_rate : float, default=1e-3
        Step size of Adam.
    validation_fraction : float in [0, 1), default=0.1
        Fraction of each class, of several labels a sample that of all samples, held out to choose
        the best epoch by. Where this leaves none, the training samples serve.
    device : str, default="auto"
        "auto" takes a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Source of initial weights, of the split, of dropout and of the order of the samples.

    Attributes
    ----------
    classes_ : array of shape (n_classes,) or (n_labels,)
        Classes seen in fit; of several labels a sample, their places.
    multilabel_ : bool
        Whether fit was given several labels a sample.
    validation_curve_ : list of float
        Accuracy on the held-out samples after each epoch, the mean over labels.
    n_parameters_ : int
        Weights of the network.

    Notes
    -----
    Signals are padded with zeros, evenly on both sides, to the next multiple of 32 points along
    each axis: EfficientNet pads its convolutions for a fixed size and takes no other.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1;
    Tan and Le, "EfficientNet", ICML 2019, Table 1.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkClassifier._parameter_constraints,
        "architecture": [StrOptions(set(_MODULES))],
        "channel_axis": [Integral, None],
    }

    def __init__(
        self,
        architecture: str = "resnet50",
        *,
        channel_axis: int | None = None,
        max_iter: int = 50,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.1,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_fraction=validation_fraction,
            device=device,
            random_state=random_state,
        )
        self.architecture = architecture
        self.channel_axis = channel_axis

    def _read(self, X: ArrayLike, y: ArrayLike | None = None) -> tuple[Tensor, NDArray[Any]]:
        options: dict[str, Any] = {"allow_nd": True, "dtype": "float32", "estimator": self}
        labels: Any = None
        if y is None:
            values = check_array(X, **options)
        else:
            self._library()  # a missing one is told before any work is done
            values, labels = check_X_y(X, y, multi_output=True, **options)
        values = with_channels_last(values, self.channel_axis)
        if y is not None:
            self.shape_in_: tuple[int, ...] = values.shape[1:]
        check_shape(values, self.shape_in_)
        values = np.moveaxis(values, -1, 1)
        return _padded(torch.from_numpy(np.ascontiguousarray(values))), labels

    def _network(self, shape: torch.Size, n_classes: int) -> nn.Module:
        library = self._library()
        n_channels, n_axes = shape[0], len(shape) - 1
        network: nn.Module
        if self.architecture == "resnet50":
            network = library.resnet50(
                spatial_dims=n_axes,
                n_input_channels=n_channels,
                num_classes=n_classes,
                conv1_t_stride=2,  # as published; MONAI's own default is 1
            )
        else:
            network = library.EfficientNetBN(
                self.architecture,
                pretrained=False,
                spatial_dims=n_axes,
                in_channels=n_channels,
                num_classes=n_classes,
            )
        return network

    def _library(self) -> ModuleType:
        return require(_MODULES[self.architecture], "evaluation")


def _padded(signals: Tensor) -> Tensor:
    """Pad the axes after the first two with zeros to a multiple of what networks divide by."""
    padding: list[int] = []
    for size in reversed(signals.shape[2:]):
        missing = -size % _DIVISOR
        padding += [missing // 2, missing - missing // 2]
    return functional.pad(signals, padding)
