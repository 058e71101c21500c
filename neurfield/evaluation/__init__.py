"""Measures of reconstruction and classification, and the tables made of them."""

from neurfield.evaluation.classification import classification_scores, cross_validated_neighbors
from neurfield.evaluation.convolutional import CNNClassifier
from neurfield.evaluation.metrics import lpips, mse, psnr, ssim
from neurfield.evaluation.probe import MLPProbe
from neurfield.evaluation.reconstruction import Reconstruction, Scores, compare, reconstruction

__all__ = [
    "CNNClassifier",
    "MLPProbe",
    "Reconstruction",
    "Scores",
    "classification_scores",
    "compare",
    "cross_validated_neighbors",
    "lpips",
    "mse",
    "psnr",
    "reconstruction",
    "ssim",
]
