"""That noise-robust classifiers do what they are for, against a plainly trained net."""

from __future__ import annotations

import numpy as np
import pytest
from _quick import noisy_digits
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split

from sklearn_dsink import NetClassifier
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.noise import (
    ActivePassiveClassifier,
    AGCEClassifier,
    CoTeachingClassifier,
    DivideMixClassifier,
    EarlyStoppedNet,
    ELRClassifier,
    GCEClassifier,
    NeighborSmoothingClassifier,
    NoiseCorrectedClassifier,
    SCEClassifier,
)

SHORT = {"max_epochs": 30, "hidden_layer_sizes": (128,)}
SEEDS = (0, 1, 2)

FAST = [
    GCEClassifier(**SHORT),
    GCEClassifier(truncation=0.5, **SHORT),
    SCEClassifier(**SHORT),
    ActivePassiveClassifier(**SHORT),
    AGCEClassifier(**SHORT),
    ELRClassifier(**SHORT),
    CoTeachingClassifier(0.4, **SHORT),
    NeighborSmoothingClassifier(**SHORT),
]
SLOW = [
    CoTeachingClassifier(**SHORT),
    CoTeachingClassifier(selection="batch", **SHORT),
    DivideMixClassifier(**SHORT),
    EarlyStoppedNet(**SHORT),
    NoiseCorrectedClassifier(),
    NoiseCorrectedClassifier(correction="transition"),
]


def scores(estimator, kind, rate):
    result = []
    for seed in SEEDS:
        X, y, X_test, y_test = noisy_digits(kind, rate, seed)
        fitted = clone(estimator).set_params(random_state=seed).fit(X, y)
        result.append(fitted.score(X_test, y_test))
    return np.array(result)


@pytest.fixture(scope="module")
def plain_net():
    cache = {}

    def get(kind, rate):
        if (kind, rate) not in cache:
            cache[kind, rate] = scores(NetClassifier(**SHORT), kind, rate)
        return cache[kind, rate]

    return get


@pytest.mark.parametrize("estimator", FAST, ids=str)
def test_better_than_a_plain_net_under_symmetric_noise(estimator, plain_net):
    gain = scores(estimator, "symmetric", 0.4) - plain_net("symmetric", 0.4)
    assert gain.min() > 0.03
    assert gain.mean() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("estimator", SLOW, ids=str)
def test_better_than_a_plain_net_under_symmetric_noise_slowly(estimator, plain_net):
    test_better_than_a_plain_net_under_symmetric_noise(estimator, plain_net)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [*FAST, *SLOW], ids=str)
def test_better_than_a_plain_net_under_class_dependent_noise(estimator, plain_net):
    gain = scores(estimator, "pair", 0.3) - plain_net("pair", 0.3)
    assert gain.min() > 0.01
    assert gain.mean() > 0.03


@pytest.mark.slow
def test_choosing_by_class_keeps_the_tail():
    by_class = CoTeachingClassifier(**SHORT)
    overall = CoTeachingClassifier(selection="batch", **SHORT)
    gains = []
    for seed in SEEDS:
        X, y = load_digits(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X, y, random_state=seed, stratify=y)
        X, y = make_long_tailed(X, y, 20, random_state=seed)
        y, _ = flip_labels(y, 0.3, kind="joint", random_state=seed)
        first, second = (
            balanced_accuracy_score(
                y_test, clone(clf).set_params(random_state=seed).fit(X, y).predict(X_test)
            )
            for clf in (by_class, overall)
        )
        gains.append(first - second)
    assert np.mean(gains) > 0.05
