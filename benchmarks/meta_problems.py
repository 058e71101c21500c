"""Fields and batches of random values in the published configurations, and smaller ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from neurfield.fields import ModulatedSiren
from neurfield.learning import Context, ContextStore, Learner, MetaBatch, Problem, VarPro
from neurfield.learning.context import random_subsets
from neurfield.presets import preset_parameters
from neurfield.signals import CoordinateFrame, Units, ValueScaler, read_signals

SHAPES = {
    "medfuncta-1d": (187,),
    "medfuncta-2d-64": (64, 64),
    "medfuncta-2d-128": (128, 128),
    "medfuncta-2d-224": (224, 224),
    "medfuncta-3d-32": (32, 32, 32),
}


@dataclass(frozen=True)
class Configuration:
    """What decides the cost of a meta-step."""

    shape: tuple[int, ...]
    n_layers: int
    hidden_dim: int
    latent_dim: int
    batch_size: int
    context_ratio: float
    inner_steps: int = 10
    inner_lr: float = 1e-2

    def field(self, device: torch.device, residual_scale: float = 1.0) -> ModulatedSiren:
        """Return the field with the same random weights in every run."""
        return ModulatedSiren(
            in_dim=len(self.shape),
            out_dim=1,
            latent_dim=self.latent_dim,
            hidden_dim=self.hidden_dim,
            n_layers=self.n_layers,
            omega=(10.0, 80.0),
            residual_scale=residual_scale,
            generator=torch.Generator().manual_seed(0),
        ).to(device)

    def batch(self, device: torch.device) -> MetaBatch:
        """Return a batch of random values with its reduced contexts."""
        generator = torch.Generator().manual_seed(0)
        axes = [torch.linspace(-1.0, 1.0, size) for size in self.shape]
        coords = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
        values = torch.rand(self.batch_size, len(coords), 1, generator=generator)
        context = Context(coords.to(device), values.to(device))
        n_kept = int(self.context_ratio * len(coords))
        return MetaBatch(context, random_subsets(context, n_kept, self.inner_steps, generator))

    def varpro(self, device: torch.device) -> tuple[Learner, MetaBatch]:
        """Return the default learner, with its own settings, and its batch of random signals."""
        generator = torch.Generator().manual_seed(0)
        n_points = int(torch.tensor(self.shape).prod())
        problem = Problem(2 * 512, 1, n_points, len(self.shape), 1, self.latent_dim)
        learner = VarPro().for_problem(problem, {"batch_size": 512})
        signals = read_signals(torch.rand(512, *self.shape, generator=generator).numpy())
        frame = CoordinateFrame.from_axes([signals.groups[0].axes])
        scaler = ValueScaler.identity(1)
        store = ContextStore(signals, Units(frame, scaler), torch.float32, device)
        return learner, learner.draw(store, generator)


def _published(name: str) -> Configuration:
    preset = preset_parameters(name)
    keys = ("n_layers", "hidden_dim", "latent_dim", "batch_size")
    return Configuration(
        SHAPES[name],
        **{key: preset[key] for key in keys},
        context_ratio=preset["learner"].context_ratio,
    )


CONFIGURATIONS = {name: _published(name) for name in SHAPES} | {
    "reduced-2d-28": Configuration((28, 28), 15, 128, 256, 24, 0.25),
    "reduced-2d-64": replace(_published("medfuncta-2d-64"), batch_size=4, inner_steps=3),
    "tiny": Configuration((8, 8), 4, 16, 8, 4, 0.5, 3),
}
