"""The default auxiliaries do what each of their parts is there for."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.auxiliaries import accepts_sample_weight, prepare
from sklearn_dsink.datasets import flip_labels
from sklearn_dsink.defaults import default_imb_aux, default_noise_aux
from sklearn_dsink.imbalance import KernelClassifier


def test_the_columns_that_matter_are_found_among_many_that_do_not():
    """Two columns make four classes, thirty say nothing: a kernel that hears all hears noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1600, 32))
    true = (X[:, 0] > 0) + 2 * (X[:, 1] > 0)
    train, test = slice(0, 800), slice(800, None)
    given, _ = flip_labels(true[train], 0.2, random_state=0)
    scores = []
    for classifier in (KernelClassifier(weigh_columns=False), default_imb_aux()):
        model = prepare(classifier, np.random.RandomState(0)).fit(X[train], given)
        scores.append(balanced_accuracy_score(true[test], model.predict(X[test])))
    assert scores[1] > scores[0] + 0.05


def test_weights_count_in_probabilities_of_rows_left_out_as_they_do_in_fits(monkeypatch):
    X, y = make_classification(
        240, 5, n_informative=4, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=0
    )
    weight = np.where(y == 1, 20.0, 1.0)
    clf = DSinkClassifier(cv=3, refine=False, random_state=0)
    at_once = clf.fit(X, y, weight).imb_aux_proba_
    monkeypatch.setattr("sklearn_dsink.crossfit.leaves_out", lambda template: False)
    fitted_anew = clf.fit(X, y, weight).imb_aux_proba_
    assert np.abs(at_once - fitted_anew).mean() < 0.05
    np.testing.assert_allclose(at_once.mean(axis=0), fitted_anew.mean(axis=0), atol=0.05)


def test_trees_of_a_narrow_table_look_at_more_than_the_root_of_its_columns():
    """Three columns of eight decide, two of them only together: few splits are of those."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2400, 8))
    true = (X[:, 0] * X[:, 1] > 0) + 2 * (X[:, 2] > 0)
    train, test = slice(0, 800), slice(800, None)
    given, _ = flip_labels(true[train], 0.2, random_state=0)
    scores = []
    for classifier in (ExtraTreesClassifier(100, min_samples_leaf=2), default_noise_aux(8)):
        model = prepare(classifier, np.random.RandomState(0)).fit(X[train], given)
        scores.append(balanced_accuracy_score(true[test], model.predict(X[test])))
    assert scores[1] > scores[0] + 0.02


def test_trees_of_a_wide_table_look_at_the_root_of_its_columns():
    clf = DSinkClassifier(cv=None, random_state=0)
    X, y = np.random.default_rng(0).normal(size=(40, 400)), np.arange(40) % 2
    forest = clf.fit(X, y).noise_aux_[-1]
    assert forest.max_features == 20


@pytest.mark.parametrize("default", [default_noise_aux(5), default_imb_aux()])
def test_sparse_input_works_where_scikit_learn_is_to_put_out_frames(default):
    X = sparse.random(60, 5, density=0.5, random_state=0, format="csr")
    y = np.arange(60) % 2
    expected = prepare(default, np.random.RandomState(0)).fit(X, y).predict_proba(X)
    with sklearn.config_context(transform_output="pandas"):
        model = prepare(default, np.random.RandomState(0)).fit(X, y)
        np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_both_can_be_fitted_a_second_time():
    assert accepts_sample_weight(default_noise_aux(10))
    assert accepts_sample_weight(default_imb_aux())
