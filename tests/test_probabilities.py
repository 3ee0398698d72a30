"""Probabilities of an auxiliary: checked, and a column for each class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sklearn_dsink.probabilities import align_columns, check_proba, predict_aligned


@given(st.integers(2, 6), st.sets(st.integers(0, 5), min_size=1), st.integers(0, 100))
def test_aligned_rows_sum_to_1_and_keep_the_ratios(n_classes, known, seed):
    known = sorted(label for label in known if label < n_classes) or [0]
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(n_classes))
    proba = rng.dirichlet(np.ones(len(known)), size=4)
    aligned = align_columns(proba, known, list(range(n_classes)), share)
    assert aligned.shape == (4, n_classes)
    np.testing.assert_allclose(aligned.sum(axis=1), 1)
    unseen = np.setdiff1d(np.arange(n_classes), known)
    np.testing.assert_allclose(aligned[:, unseen], np.tile(share[unseen], (4, 1)))
    kept = aligned[:, known]
    np.testing.assert_allclose(kept / kept.sum(axis=1, keepdims=True), proba, atol=1e-9)


def test_columns_in_another_order():
    proba = np.array([[0.1, 0.9]])
    aligned = align_columns(proba, ["b", "a"], ["a", "b"], np.array([0.5, 0.5]))
    np.testing.assert_allclose(aligned, [[0.9, 0.1]])


def test_unknown_classes_are_refused():
    with pytest.raises(ValueError, match=r"predicts the classes \['c'\].*y has \['a', 'b'\]"):
        align_columns(np.array([[0.1, 0.9]]), ["a", "c"], ["a", "b"], np.array([0.5, 0.5]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_rows_that_nearly_sum_to_1_are_made_to(dtype):
    checked = check_proba(np.array([[0.5, 0.4996]], dtype=dtype), 1, 2, "noise_aux")
    assert checked.dtype == (np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_allclose(checked.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "proba, message",
    [
        ([[0.5, np.nan]], "1 of 1 rows are NaN or infinite"),
        ([[1.5, -0.5]], "are negative.*CrossEntropyLoss"),
        ([[0.5, 0.6]], "do not sum to 1"),
        ([[0.0, 0.0]], "do not sum to 1"),
        ([[1.0]], r"shape \(1, 1\), expected \(1, 2\)"),
        ([0.5, 0.5], r"shape \(2,\), expected \(1, 2\)"),
    ],
)
def test_answers_that_are_no_probabilities(proba, message):
    with pytest.raises(ValueError, match=f"imb_aux: .*{message}"):
        check_proba(proba, 1, 2, "imb_aux")


def test_a_classifier_that_knows_fewer_classes(rng):
    X, y = rng.normal(size=(20, 2)), np.arange(20) % 2
    model = LogisticRegression().fit(X, y)
    share = np.array([0.4, 0.4, 0.2])
    aligned = predict_aligned(model, X, [0, 1, 2], share, "noise_aux")
    np.testing.assert_allclose(aligned[:, 2], 0.2)
    np.testing.assert_allclose(aligned[:, :2], 0.8 * model.predict_proba(X))
    with pytest.raises(ValueError, match=r"noise_aux=LogisticRegression.*predicts the classes"):
        predict_aligned(model, X, [1, 2], share[:2], "noise_aux")


def test_rows_that_sum_to_anything_else_are_refused():
    for total in (0.99, 1.01):
        with pytest.raises(ValueError, match="1 of 2 rows do not sum to 1"):
            check_proba([[0.5, 0.5], [0.5, total - 0.5]], 2, 2, "noise_aux")


@pytest.mark.parametrize("classes", [[0, 1, 1], [[0, 1, 2]]])
def test_classes_that_are_no_labels_each_once_are_refused(classes):
    model = LogisticRegression().fit([[0], [1], [2]], [0, 1, 2])
    model.classes_ = np.array(classes)
    with pytest.raises(ValueError, match="classes_ must be labels in one row, each once"):
        predict_aligned(model, np.zeros((1, 1)), [0, 1, 2], np.full(3, 1 / 3), "noise_aux")
