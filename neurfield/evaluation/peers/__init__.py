"""Other ways to describe signals by few numbers, or to fill their gaps, for comparison."""

from neurfield.evaluation.peers.autoencoder import ConvAutoencoder
from neurfield.evaluation.peers.block_pca import BlockPCA, from_blocks, to_blocks
from neurfield.evaluation.peers.gaussian_process import GaussianProcessFiller
from neurfield.evaluation.peers.interpolation import LinearInterpolator
from neurfield.evaluation.peers.ppca import ProbabilisticPCA

__all__ = [
    "BlockPCA",
    "ConvAutoencoder",
    "GaussianProcessFiller",
    "LinearInterpolator",
    "ProbabilisticPCA",
    "from_blocks",
    "to_blocks",
]
