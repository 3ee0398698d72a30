"""Any classifier corrected for the wrong labels that it was fitted to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from _quick import noisy_digits
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_dsink.datasets import flip_labels
from sklearn_dsink.inputs import TabularEncoder
from sklearn_dsink.noise import (
    NoiseCorrectedClassifier,
)
from sklearn_dsink.noise._correction import cleanlab_noise_matrix, sharpen, undo_noise


def test_sharpening_keeps_the_order_and_does_not_underflow():
    proba = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=50)
    np.testing.assert_allclose(sharpen(proba, 1.0), proba)
    sharp = sharpen(proba, 400.0)
    np.testing.assert_allclose(sharp.sum(axis=1), 1)
    np.testing.assert_array_equal(sharp.argmax(axis=1), proba.argmax(axis=1))


def test_undoing_noise_inverts_the_matrix():
    rng = np.random.default_rng(0)
    matrix = 0.7 * np.eye(4) + 0.3 * rng.dirichlet(np.ones(4), size=4)
    true = rng.dirichlet(np.ones(4), size=20)
    found = undo_noise(true @ matrix, matrix, max_iter=5000)
    np.testing.assert_allclose(found, true, atol=0.01)
    # Without noise there is nothing to undo.
    np.testing.assert_allclose(undo_noise(true, np.eye(4), max_iter=1), true, atol=1e-9)


@pytest.mark.parametrize("joint", ["confident", "cleanlab"])
def test_noise_matrix_and_label_posterior_are_near_the_truth(joint):
    if joint == "cleanlab":
        pytest.importorskip("cleanlab")
    X, y = load_digits(return_X_y=True)
    y_noisy, matrix = flip_labels(y, 0.3, kind="pair", random_state=0)
    clf = NoiseCorrectedClassifier(
        ExtraTreesClassifier(50, min_samples_leaf=2), cv=3, joint=joint, random_state=0
    ).fit(X, y_noisy)
    np.testing.assert_allclose(clf.noise_matrix_.sum(axis=1), 1)
    assert np.abs(clf.noise_matrix_ - matrix).max() < 0.12
    restored = np.mean(clf.label_posterior_.argmax(axis=1) == y)
    assert restored > 0.9 > np.mean(y_noisy == y) + 0.15


@pytest.mark.parametrize("joint", ["confident", "cleanlab"])
def test_noise_estimate_counts_weights(joint):
    if joint == "cleanlab":
        pytest.importorskip("cleanlab")
    X, y = load_digits(return_X_y=True)
    y_noisy, _ = flip_labels(y, 0.3, kind="pair", random_state=0)
    trees = ExtraTreesClassifier(20, min_samples_leaf=2)
    clf = NoiseCorrectedClassifier(trees, cv=3, joint=joint, random_state=0)
    clf.fit(X, y_noisy, sample_weight=np.where(y == y_noisy, 1.0, 1e-3))
    assert clf.noise_matrix_.diagonal().min() > 0.9


def test_the_scale_of_weights_does_not_matter(noisy_iris):
    X, y, _ = noisy_iris
    fits = [
        NoiseCorrectedClassifier(random_state=0).fit(X, y, sample_weight=np.full(len(y), scale))
        for scale in (1.0, 2.0**-14)
    ]
    np.testing.assert_allclose(fits[0].noise_matrix_, fits[1].noise_matrix_, atol=1e-9)


def test_cleanlab_gets_rows_as_often_as_they_weigh():
    pytest.importorskip("cleanlab")
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 200)
    proba = rng.dirichlet(np.ones(3), size=600) / 2 + np.eye(3)[codes] / 2
    weight = rng.integers(0, 4, size=600)
    repeated = np.repeat(np.arange(600), weight)
    found = cleanlab_noise_matrix(codes, proba, weight)
    expected = cleanlab_noise_matrix(codes[repeated], proba[repeated], np.ones(len(repeated)))
    np.testing.assert_allclose(found, expected, atol=0.02)
    # Rows of weight 0 do not count, and a class of no others is no noise.
    rows = np.flatnonzero(codes < 2)
    found = cleanlab_noise_matrix(codes, proba, np.where(codes < 2, 0.3, 0.0))
    np.testing.assert_array_equal(
        found[:2], cleanlab_noise_matrix(codes[rows], proba[rows], np.ones(len(rows)))[:2]
    )
    assert found[2, 2] > 0.99


@pytest.mark.parametrize("correction", ["sharpen", "transition"])
def test_corrected_probabilities_are_nearer_to_the_clean_labels(correction):
    for seed in (0, 1, 2):
        X, y, X_test, y_test = noisy_digits("symmetric", 0.4, seed)
        trees = ExtraTreesClassifier(50, min_samples_leaf=2, random_state=seed)
        raw = trees.fit(X, y).predict_proba(X_test)
        clf = NoiseCorrectedClassifier(trees, correction=correction, cv=3, random_state=seed)
        corrected = clf.fit(X, y).predict_proba(X_test)
        assert log_loss(y_test, corrected) < log_loss(y_test, raw) - 0.2


def test_noise_correction_of_a_pipeline_of_strings(noisy_iris):
    X, y, y_true = noisy_iris
    names = np.array(["a", "b", "c"])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    clf = NoiseCorrectedClassifier(pipeline, random_state=0).fit(X, names[y])
    assert set(clf.predict(X)) == set(names)
    assert clf.score(X, names[y_true]) > np.mean(y == y_true)
    assert clf.noise_matrix_.shape == (3, 3)


def test_noise_correction_of_texts(noisy_iris):
    """Rows may be a list, of which there is one column only."""
    y = noisy_iris[1]
    texts = [f"{'red green blue'.split()[label]} thing" for label in y]
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression())
    clf = NoiseCorrectedClassifier(pipeline, cv=3, random_state=0)
    assert clf.fit(texts, y).score(texts, y) == 1
    assert clf.fit(np.array(texts), y).score(texts, y) == 1


def test_noise_correction_of_tables_predicts_from_tables(noisy_iris):
    """The encoder is fitted once for all fits, and belongs to the estimator all the same."""
    X, y, _ = noisy_iris
    table = pd.DataFrame(X).add_prefix("column ").assign(kind=np.array(["a", "b", "c"])[y])
    trees = ExtraTreesClassifier(10, min_samples_leaf=2)
    clf = NoiseCorrectedClassifier(make_pipeline(TabularEncoder(), trees), cv=3, random_state=0)
    assert clf.fit(table, y).score(table, y) > 0.95
    assert clf.feature_names_in_.tolist() == table.columns.tolist()


def test_noise_correction_asks_for_folds(noisy_iris):
    with pytest.raises(ValueError, match="cv=None would estimate the noise from labels"):
        NoiseCorrectedClassifier(cv=None).fit(*noisy_iris[:2])


def test_a_fit_that_fails_in_the_end_leaves_nothing_fitted(noisy_iris, monkeypatch):
    X, y, _ = noisy_iris
    clf = NoiseCorrectedClassifier(DecisionTreeClassifier()).fit(X, y)

    def fail(*args, **options):
        raise RuntimeError("no matrix")

    monkeypatch.setattr("sklearn_dsink.noise._noise_corrected.estimate_noise_matrix", fail)
    with pytest.raises(RuntimeError, match="no matrix"):
        clf.fit(X, 2 - y)
    with pytest.raises(NotFittedError):
        clf.predict(X)


def test_metadata_routing(noisy_iris):
    X, y, _ = noisy_iris
    weight = np.where(y == 2, 50.0, 1.0)
    shares = []
    with sklearn.config_context(enable_metadata_routing=True):
        for asks in (True, False):
            tree = DecisionTreeClassifier(max_depth=2, random_state=0)
            clf = NoiseCorrectedClassifier(tree.set_fit_request(sample_weight=asks), cv=2)
            shares.append(np.mean(clf.fit(X, y, sample_weight=weight).predict(X) == 2))
    assert shares[0] > shares[1] + 0.1
    with pytest.raises(TypeError, match="metadata routing"):
        NoiseCorrectedClassifier(DecisionTreeClassifier()).fit(X, y, groups=y)


def test_frozen_estimators_are_corrected_as_they_are(noisy_iris):
    X, y, _ = noisy_iris
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X[::2], y[::2])
    clf = NoiseCorrectedClassifier(FrozenEstimator(tree), sharpening=1.0).fit(X[1::2], y[1::2])
    np.testing.assert_allclose(clf.predict_proba(X), tree.predict_proba(X), atol=1e-5)
