"""Second fits: what teaches a fold has not seen it, and it pays."""

from __future__ import annotations

import numpy as np
import pytest
from _quick import make_blobs, quick
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.crossfit import fit_auxiliaries
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.evidence import gather_evidence
from sklearn_dsink.folds import deal_folds
from sklearn_dsink.label_model import fit_label_model
from sklearn_dsink.refinement import refit_auxiliaries, weighted_copies

rng = np.random.default_rng(0)
TRUE = rng.integers(3, size=120)
X = rng.normal(size=(120, 4)) + 2 * np.eye(4)[TRUE]
GIVEN, _ = flip_labels(TRUE, 0.2, random_state=0)
FOLDS = deal_folds(GIVEN, 4, np.random.RandomState(0))
CLASSES = np.arange(3)


def nested_fits(y, **auxiliaries):
    return fit_auxiliaries(
        auxiliaries,
        X,
        y,
        classes=CLASSES,
        class_share=np.full(3, 1 / 3),
        folds=FOLDS,
        nested=True,
        random_state=np.random.RandomState(0),
    )


@pytest.mark.parametrize("fold", range(4))
def test_unseen_probabilities_do_not_depend_on_the_labels_of_their_fold(fold):
    _, held_out = FOLDS[fold]
    other = GIVEN.copy()
    other[held_out] = (other[held_out] + 1) % 3
    outside = np.setdiff1d(np.arange(len(X)), held_out)
    before = nested_fits(GIVEN, noise_aux=GaussianNB())["noise_aux"].unseen[fold][outside]
    after = nested_fits(other, noise_aux=GaussianNB())["noise_aux"].unseen[fold][outside]
    np.testing.assert_array_equal(before, after)


def test_nested_probabilities_are_out_of_fold():
    changed = GIVEN.copy()
    _, held_out = FOLDS[0]
    changed[held_out] = (changed[held_out] + 1) % 3
    before = nested_fits(GIVEN, noise_aux=GaussianNB())["noise_aux"].proba[held_out]
    after = nested_fits(changed, noise_aux=GaussianNB())["noise_aux"].proba[held_out]
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(before.sum(axis=1), 1, rtol=1e-6)


@given(
    st.integers(1, 30),
    st.integers(2, 6),
    st.floats(0, 1),
    st.integers(0, 2**31 - 1),
)
@settings(deadline=None)
def test_copies_weigh_as_much_as_the_rows(n_samples, n_classes, balance, seed):
    posterior = np.random.default_rng(seed).dirichlet(np.full(n_classes, 0.3), n_samples)
    rows, labels, weight = weighted_copies(posterior, balance=balance)
    np.testing.assert_allclose(weight.sum(), n_samples)
    assert set(rows) == set(range(n_samples))  # no row is lost
    assert np.all(weight > 0)
    if balance == 0:
        np.testing.assert_allclose(np.bincount(rows, weights=weight), 1)
    best = posterior.argmax(axis=1)
    assert all(np.any((rows == i) & (labels == best[i])) for i in range(n_samples))


def test_full_balance_gives_all_classes_the_same_weight():
    posterior = np.repeat(np.eye(3), [50, 10, 2], axis=0)
    _, labels, weight = weighted_copies(posterior, balance=1.0)
    np.testing.assert_allclose(np.bincount(labels, weights=weight), 62 / 3)


def test_a_row_of_weight_5_is_balanced_as_five_rows_are():
    posterior = np.repeat(np.eye(2), [50, 10], axis=0)
    times = np.repeat([1, 5], [50, 10])
    copies = weighted_copies(posterior, balance=0.5, sample_weight=times.astype(float))
    repeated = weighted_copies(np.repeat(posterior, times, axis=0), balance=0.5)
    totals = [np.bincount(labels, weights=weight) for _, labels, weight in (copies, repeated)]
    np.testing.assert_allclose(*totals)


def test_where_nothing_can_be_fitted_again_no_pairs_of_folds_are_left_out(monkeypatch):
    fits, fit = [], KNeighborsClassifier.fit
    monkeypatch.setattr(
        KNeighborsClassifier, "fit", lambda self, X, y: fits.append(len(y)) or fit(self, X, y)
    )
    clf = DSinkClassifier(KNeighborsClassifier(), KNeighborsClassifier(3), cv=4, refine=True)
    clf.fit(X, GIVEN)
    assert len(fits) == 2 * (1 + 4)


def test_given_folds_of_which_two_weigh_something_are_two():
    X, y, _ = make_blobs()
    groups = np.arange(len(y)) % 3
    folds = [(np.flatnonzero(groups != k), np.flatnonzero(groups == k)) for k in range(3)]
    clf = quick(cv=folds, refine=True).fit(X, y, sample_weight=(groups < 2).astype(float))
    assert clf.score(X, y) > 0.8


def test_what_predicts_keeps_no_training_rows():
    X, y, _ = make_blobs()
    kept = quick(refine=True).fit(X, y)._experts_.label_model.posterior
    assert kept.base is None or kept.base.size == 0


def test_only_what_takes_weights_and_is_not_frozen_is_fitted_again():
    frozen = FrozenEstimator(GaussianNB().fit(X, GIVEN))
    first = nested_fits(
        GIVEN, frozen=frozen, weightless=KNeighborsClassifier(), able=LogisticRegression()
    )
    model = fit_label_model([aux.proba for aux in first.values()], GIVEN)
    second = refit_auxiliaries(first, model, X, GIVEN, classes=CLASSES, folds=FOLDS)
    assert list(second) == ["able"]
    assert np.isfinite(second["able"].proba).all()


def test_second_fits_know_the_noise_rate_and_label_better():
    gains = []
    for seed in range(3):
        digits, y = load_digits(return_X_y=True)
        digits = digits / 16
        digits, y = make_long_tailed(digits, y, 10, random_state=seed)
        y_given, _ = flip_labels(y, 0.4, random_state=seed)
        posterior = {}
        for refine in (False, True):
            evidence = gather_evidence(
                {
                    "noise_aux": GaussianNB(var_smoothing=0.05),
                    "imb_aux": LogisticRegression(C=0.1, max_iter=1000),
                },
                digits,
                y_given,
                classes=np.arange(10),
                folds=deal_folds(y_given, 5, np.random.RandomState(seed)),
                refine=refine,
                sample_weight=None,
                fit_params=None,
                random_state=np.random.RandomState(seed),
            )
            model = evidence.label_model
            posterior[refine] = balanced_accuracy_score(y, model.posterior.argmax(axis=1))
        wrong = 1 - model.class_share @ np.diag(model.noise_matrix)
        assert abs(wrong - 0.4) < 0.06  # leaking fits would think of the labels as less noisy
        gains.append(posterior[True] - posterior[False])
    assert np.mean(gains) > 0
