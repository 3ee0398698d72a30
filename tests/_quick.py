"""Small data and a DSinkClassifier that fits in a few hundredths of a second."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.validation import _get_feature_names
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.datasets import flip_labels

needs_polars_names = pytest.mark.skipif(
    _get_feature_names(pl.DataFrame({"a": [1]})) is None,
    reason="this scikit-learn reads no column names from this polars",
)


class TinyModule(nn.Module):
    """One hidden layer; gives logits, or probabilities with ``softmax=True``."""

    def __init__(self, n_features: int = 4, n_classes: int = 3, softmax: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 16), nn.ReLU(), nn.Linear(16, n_classes))
        self.softmax = softmax

    def forward(self, X):
        logits = self.layers(X)
        return logits.softmax(dim=1) if self.softmax else logits


def tiny_net(n_features: int = 4, n_classes: int = 3, **params) -> NeuralNetClassifier:
    """Give an untrained skorch net of three epochs."""
    settings = {
        "module__n_features": n_features,
        "module__n_classes": n_classes,
        "criterion": nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "lr": 0.02,
        "max_epochs": 3,
        "batch_size": 32,
        "iterator_train__shuffle": True,
        "verbose": 0,
        **params,
    }
    return NeuralNetClassifier(TinyModule, **settings)


def quick(n_features: int = 4, n_classes: int = 3, **params) -> DSinkClassifier:
    """Give a classifier with two linear auxiliaries and the tiny net."""
    settings = {
        "noise_aux": LogisticRegression(),
        "imb_aux": GaussianNB(),
        "target": tiny_net(n_features, n_classes),
        "cv": 2,
        "warmup": 1,
        "random_state": 0,
        **params,
    }
    return DSinkClassifier(**settings)


def make_blobs(sizes=(60, 30, 12), *, n_features=4, flip=0.0, seed=0, names=None):
    """Draw one Gaussian blob a class, rows shuffled, a share of the labels moved.

    Returns X, the given labels and the true ones.
    """
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centers = np.random.default_rng(0).normal(scale=2.5, size=(len(sizes), n_features))
    X = centers[true] + rng.normal(size=(len(true), n_features))
    given = true.copy()
    moved = rng.random(len(true)) < flip
    given[moved] = (given[moved] + rng.integers(1, len(sizes), moved.sum())) % len(sizes)
    if names is not None:
        given, true = np.asarray(names)[given], np.asarray(names)[true]
    return X, given, true


def noisy_digits(kind, rate, seed):
    """Split digits, and make some of the training labels wrong."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=600, random_state=seed, stratify=y)
    y_noisy, _ = flip_labels(y, rate, kind=kind, random_state=seed)
    return X, y_noisy, X_test, y_test
