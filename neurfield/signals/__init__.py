"""From the caller's containers to numbers and back."""

from neurfield.signals.containers import SignalGroup, Signals, read_signals
from neurfield.signals.frame import CoordinateFrame, grid_points
from neurfield.signals.layout import Layout
from neurfield.signals.scaling import ValueScaler

__all__ = [
    "CoordinateFrame",
    "Layout",
    "SignalGroup",
    "Signals",
    "ValueScaler",
    "grid_points",
    "read_signals",
]
