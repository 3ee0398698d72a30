"""KernelClassifier: the least squares it solves, and what it says of rows it leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.imbalance import KernelClassifier


def test_kernel_classifier_is_kernel_ridge_on_one_hot_labels():
    rows, y = load_wine(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    clf = KernelClassifier(alphas=[2.0], balance=0, gamma=0.05, scale=1).fit(rows, y)
    targets = np.eye(3)[y]
    ridge = KernelRidge(alpha=2.0, kernel="rbf", gamma=0.05).fit(rows, targets - targets.mean(0))
    scores = ridge.predict(rows) + targets.mean(0)
    ours = np.log(clf.predict_proba(rows))
    np.testing.assert_allclose(
        ours - ours.mean(1, keepdims=True), scores - scores.mean(1, keepdims=True), atol=1e-4
    )


def test_strength_is_that_of_the_least_error_left_out():
    rows, y = load_wine(return_X_y=True)
    noisy, _ = flip_labels(y, 0.4, random_state=0)
    rows = StandardScaler().fit_transform(rows)
    alphas = [0.01, 1.0, 100.0]
    errors = []
    for alpha in alphas:
        left_out = KernelClassifier(alphas=[alpha], balance=0).leave_out_proba(
            rows, noisy, [np.array([i]) for i in range(len(y))]
        )
        log_proba = np.log(np.concatenate(left_out)) / 4  # the scores up to a constant a row
        scores = log_proba - log_proba.mean(axis=1, keepdims=True) + 1 / 3
        errors.append(np.mean((np.eye(3)[noisy] - scores) ** 2))
    chosen = KernelClassifier(alphas=alphas, balance=0).fit(rows, noisy).alpha_
    assert chosen == alphas[int(np.argmin(errors))]


def test_a_row_of_weight_two_is_two_rows():
    rows, y = load_wine(return_X_y=True)
    noisy, _ = flip_labels(y, 0.4, random_state=0)
    weight = np.arange(len(y)) % 3 + 1
    weighted = KernelClassifier().fit(rows, noisy, weight)
    repeated = KernelClassifier().fit(np.repeat(rows, weight, axis=0), np.repeat(noisy, weight))
    assert weighted.alpha_ == repeated.alpha_
    np.testing.assert_allclose(
        weighted.predict_proba(rows), repeated.predict_proba(rows), atol=1e-6
    )


def test_balance_hears_the_tail():
    rows, y = load_wine(return_X_y=True)
    X, labels = make_long_tailed(rows, y, 12, random_state=0)
    recall = [
        np.mean(
            KernelClassifier(balance=b, alphas=[8.0]).fit(X, labels).predict(rows[y == 2]) == 2
        )
        for b in (0.0, 1.0)
    ]
    assert recall[1] > recall[0]


def test_kernel_classifier_leaves_rows_out_as_a_fit_without_them_would():
    rows, y = load_wine(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    parts = [np.arange(0, len(y), 5), np.arange(3, len(y), 7)]
    # One strength, classes as they are: then only scaling and landmarks tell the two apart.
    clf = KernelClassifier(alphas=[2.0], balance=0, gamma=0.01)
    left_out = clf.leave_out_proba(rows, y, parts, weight)
    for part, proba in zip(parts, left_out, strict=True):
        others = np.setdiff1d(np.arange(len(y)), part)
        refit = clone(clf).fit(rows[others], y[others], weight[others])
        np.testing.assert_allclose(proba, refit.predict_proba(rows[part]), atol=0.05)
        # What is left out has no say, whatever its labels.
        shuffled = y.copy()
        shuffled[part] = np.roll(y[part], 1)
        again = clf.leave_out_proba(rows, shuffled, [part], weight)[0]
        np.testing.assert_allclose(proba, again, atol=1e-6)


def test_kernel_classifier_predicts_rows_of_no_weight_that_it_leaves_out():
    rows, y = load_wine(return_X_y=True)
    weight = np.ones(len(y))
    weight[::3] = 0
    part = np.arange(0, len(y), 3)
    clf = KernelClassifier()
    heavy = weight > 0
    (proba,) = clf.leave_out_proba(rows, y, [part], weight)
    refit = clone(clf).fit(rows[heavy], y[heavy])
    np.testing.assert_allclose(proba, refit.predict_proba(rows[part]), atol=1e-6)


@pytest.mark.parametrize("alphas", [[], [0.0], [[1.0]]])
def test_strengths_must_be_positive(alphas):
    rows, y = load_wine(return_X_y=True)
    with pytest.raises(ValueError, match="alphas must be one or more positive numbers"):
        KernelClassifier(alphas=alphas).fit(rows, y)
