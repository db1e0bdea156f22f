"""The labelled synthetic corpus of the anomaly detector: twins, labels, types of anomalies."""

from tsfm.datasets.anomalies.catalogue import KIND_NAMES, all_types
from tsfm.datasets.anomalies.generate import LabelledBatch, anomaly_batch
from tsfm.datasets.anomalies.recipe import AnomalyRecipe, Negatives, Visibility

__all__ = [
    "KIND_NAMES",
    "AnomalyRecipe",
    "LabelledBatch",
    "Negatives",
    "Visibility",
    "all_types",
    "anomaly_batch",
]
