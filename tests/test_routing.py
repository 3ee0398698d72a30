"""Metadata that scikit-learn routes reaches auxiliaries, splitters and workers."""

from __future__ import annotations

from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import pytest
from _quick import make_blobs, quick
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.imbalance import KernelClassifier

NAMES = ["ant", "bee", "cow"]
X, Y, TRUE = make_blobs(flip=0.1, names=NAMES)
FRAME = pd.DataFrame(X, columns=list("abcd"))


def check_rows(proba):
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)


@contextmanager
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def test_routed_sample_weight_reaches_the_auxiliaries_that_ask_for_it():
    weight = np.where(Y == "cow", 5.0, 1.0)
    plain = quick(cv=None).fit(X, Y, sample_weight=weight)
    with routing():
        noise_aux = LogisticRegression().set_fit_request(sample_weight=True)
        imb_aux = GaussianNB().set_fit_request(sample_weight=False)
        clf = quick(noise_aux=noise_aux, imb_aux=imb_aux, cv=None).fit(X, Y, sample_weight=weight)
        with pytest.raises(UnsetMetadataPassedError):
            quick().fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(clf.noise_aux_.coef_, plain.noise_aux_.coef_)
    unweighted = GaussianNB().fit(X, Y)
    np.testing.assert_allclose(clf.imb_aux_.class_prior_, unweighted.class_prior_)


def test_rows_of_no_weight_teach_no_auxiliary_that_asks_for_no_weights():
    wrong = np.roll(NAMES, 1)[np.searchsorted(NAMES, Y)]
    rows, labels = np.vstack([X, X, X]), np.concatenate([Y, wrong, wrong])
    weight = np.repeat([1.0, 0.0], [len(X), 2 * len(X)])
    with routing():
        imb_aux = KernelClassifier().set_fit_request(sample_weight=False)
        clf = quick(noise_aux=FrozenEstimator(GaussianNB().fit(X, Y)), imb_aux=imb_aux, cv=3)
        clf.fit(rows, labels, sample_weight=weight)
    said = clf.classes_[clf.imb_aux_proba_[: len(X)].argmax(axis=1)]
    assert np.mean(said == Y) > 0.7


def test_routing_through_a_grid_search(short_default_target):
    weight = np.where(Y == "cow", 5.0, 1.0)
    with routing():
        clf = quick(
            noise_aux=LogisticRegression().set_fit_request(sample_weight=True),
            imb_aux=GaussianNB().set_fit_request(sample_weight=True),
        )
        clf.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(clf, {"alpha": [1.0]}, cv=2).fit(X, Y, sample_weight=weight)
        check_rows(search.predict_proba(X))


def test_routing_with_the_default_auxiliaries(short_default_target):
    with routing():
        clf = DSinkClassifier(cv=2, random_state=0).fit(X, Y, sample_weight=np.ones(len(X)))
        check_rows(clf.predict_proba(X))


def test_groups_are_routed_to_the_splitter():
    groups = np.arange(len(X)) % 7
    splits = list(GroupKFold(3).split(X, Y, groups))
    given = quick(cv=splits).fit(X, Y)
    with routing():
        routed = quick(cv=GroupKFold(3)).fit(X, Y, groups=groups)
        search = GridSearchCV(quick(cv=GroupKFold(2)), {"alpha": [1.0]}, cv=GroupKFold(2))
        check_rows(search.fit(X, Y, groups=groups).predict_proba(X))
    np.testing.assert_array_equal(routed.noise_aux_proba_, given.noise_aux_proba_)


def test_without_weights_routing_changes_nothing():
    plain = quick().fit(X, Y).predict_proba(X)
    with routing():
        np.testing.assert_array_equal(quick().fit(X, Y).predict_proba(X), plain)


def test_workers_know_that_metadata_is_routed():
    weight = np.where(Y == "cow", 5.0, 1.0)
    with routing(), joblib.parallel_config("threading"):
        scaled = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            LogisticRegression().set_fit_request(sample_weight=True),
        )
        clf = quick(noise_aux=scaled, imb_aux=clone(scaled), n_jobs=2, cv=3)
        check_rows(clf.fit(X, Y, sample_weight=weight).predict_proba(X))
