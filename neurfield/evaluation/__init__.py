"""Measures of reconstruction and classification, and the tables made of them."""

from neurfield.evaluation.classification import classification_scores, cross_validated_neighbors
from neurfield.evaluation.convolutional import CNNClassifier
from neurfield.evaluation.medmnist import (
    MEDMNIST_TASKS,
    MedMNISTTask,
    medmnist_scores,
    medmnist_task,
)
from neurfield.evaluation.metrics import lpips, mse, psnr, ssim
from neurfield.evaluation.neighbors import neighbors_by_validation
from neurfield.evaluation.probe import MLPProbe
from neurfield.evaluation.reconstruction import Reconstruction, Scores, compare, reconstruction

__all__ = [
    "MEDMNIST_TASKS",
    "CNNClassifier",
    "MLPProbe",
    "MedMNISTTask",
    "Reconstruction",
    "Scores",
    "classification_scores",
    "compare",
    "cross_validated_neighbors",
    "lpips",
    "medmnist_scores",
    "medmnist_task",
    "mse",
    "neighbors_by_validation",
    "psnr",
    "reconstruction",
    "ssim",
]
