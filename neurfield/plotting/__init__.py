"""Pictures of what an encoder has learnt, with matplotlib (extra ``plots``).

Each function draws into the axes it is given or makes some, returns them, and shows nothing.
"""

from neurfield.plotting.interpolation import plot_interpolation
from neurfield.plotting.latents import plot_latents
from neurfield.plotting.reconstruction import plot_reconstruction
from neurfield.plotting.training import plot_training

__all__ = ["plot_interpolation", "plot_latents", "plot_reconstruction", "plot_training"]
