"""Noise matrix and label posterior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_dsink.label_model import fit_label_model
from sklearn_dsink.noise_model import (
    confident_joint,
    estimate_noise_matrix,
    joint_counts,
    label_posterior,
    noise_matrix_from_joint,
)


def draw(seed, n_rows=40, n_classes=3):
    rng = np.random.default_rng(seed)
    return rng.integers(n_classes, size=n_rows), rng.dirichlet(np.ones(n_classes), size=n_rows)


def noisy(n_rows=4000, rate=0.3, n_classes=3, sharpness=0.8):
    """Draw true labels, given labels and the posterior of a model that knows the noise."""
    rng = np.random.default_rng(0)
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    true = rng.choice(n_classes, size=n_rows, p=[0.6, 0.3, 0.1])
    y = np.array([rng.choice(n_classes, p=matrix[c]) for c in true])
    clean = np.full((n_rows, n_classes), (1 - sharpness) / (n_classes - 1))
    clean[np.arange(n_rows), true] = sharpness
    return true, y, clean, clean @ matrix, matrix


def matrix_of(posterior, y, weight=None, pseudo_count=10.0):
    weight = np.ones(len(y)) if weight is None else weight
    return noise_matrix_from_joint(joint_counts(posterior, y, weight), pseudo_count)


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_joint_is_a_distribution_with_the_given_shares(seed, n_classes):
    y, proba = draw(seed, n_classes=n_classes)
    joint = confident_joint(y, proba)
    assert (joint >= 0).all()
    np.testing.assert_allclose(joint.sum(), 1)
    shares = np.bincount(y, minlength=n_classes) / len(y)
    np.testing.assert_allclose(joint.sum(axis=0), shares, atol=1e-12)


@given(st.integers(0, 10**6))
def test_weights_are_repeated_rows(seed):
    y, proba = draw(seed, n_rows=12)
    times = np.random.default_rng(seed).integers(0, 4, size=12)
    times[0] = 1
    repeated = np.repeat(np.arange(12), times)
    np.testing.assert_allclose(
        confident_joint(y, proba, times.astype(float)),
        confident_joint(y[repeated], proba[repeated]),
        atol=1e-12,
    )


@given(st.integers(0, 10**6))
def test_matrices_are_stochastic_and_positive(seed):
    y, proba = draw(seed)
    for matrix in (estimate_noise_matrix(y, proba), matrix_of(proba, y)):
        assert (matrix > 0).all()
        np.testing.assert_allclose(matrix.sum(axis=1), 1)


def test_known_noise_is_found():
    true, y, clean, observed, matrix = noisy(sharpness=0.99)
    for posterior in (np.eye(3)[true], label_posterior(clean, y, matrix)):
        np.testing.assert_allclose(matrix_of(posterior, y), matrix, atol=0.05)
    diagonal = np.diag(estimate_noise_matrix(y, observed))
    assert (diagonal > 0.5).all()


def test_weights_of_rows_are_as_good_as_rows():
    y, proba = draw(3)
    times = np.random.default_rng(0).integers(0, 4, size=len(y))
    again = np.repeat(np.arange(len(y)), times)
    np.testing.assert_allclose(
        matrix_of(proba, y, times / times.mean(), 0.0),
        matrix_of(proba[again], y[again], pseudo_count=0.0),
        atol=1e-6,
    )


def test_a_class_of_few_rows_borrows_the_overall_rate():
    true, y, _, _, matrix = noisy()
    rare = np.flatnonzero(true == 2)[:1]
    rows = np.concatenate([np.flatnonzero(true != 2), rare])
    found = matrix_of(np.eye(3)[true[rows]], y[rows])
    assert abs(found[2, 2] - matrix[2, 2]) < 0.1


def test_clean_labels_have_a_noise_matrix_near_the_identity():
    y = np.repeat([0, 1, 2], 100)
    proba = np.eye(3)[y]
    np.testing.assert_allclose(estimate_noise_matrix(y, proba), np.eye(3), atol=1e-3)


@given(st.integers(0, 10**6))
def test_posterior_is_bayes_rule(seed):
    y, proba = draw(seed)
    matrix = np.random.default_rng(seed).dirichlet(np.ones(3), size=3)
    posterior = label_posterior(proba, y, matrix, sharpening=1.0)
    joint = np.clip(proba, 1e-6, None) * matrix[:, y].T
    np.testing.assert_allclose(posterior, joint / joint.sum(axis=1, keepdims=True))
    flat = label_posterior(proba, y, np.full((3, 3), 1 / 3), sharpening=1.0)
    np.testing.assert_allclose(flat, np.clip(proba, 1e-6, None), atol=1e-5)


def test_the_given_label_helps():
    true, y, clean, _, matrix = noisy(sharpness=0.5)
    posterior = label_posterior(clean, y, matrix)
    rows = np.arange(len(y))
    assert np.log(posterior[rows, true]).mean() > np.log(clean[rows, true]).mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inputs_are_left_as_they_were(dtype):
    y, proba = draw(0)
    proba = proba.astype(dtype)
    before = proba.copy()
    matrix = estimate_noise_matrix(y, proba)
    label_posterior(proba, y, matrix)
    matrix_of(proba, y)
    np.testing.assert_array_equal(proba, before)


def test_a_class_without_a_row_of_its_own_gets_the_background_of_either_estimator():
    """Regression: one of the two counted "moved" to the own class as well as kept."""
    y = np.repeat([0, 1], [90, 10])
    proba = np.where(y[:, None] == [0, 1], 0.8, 0.2)
    proba[:9], proba[-1] = [0.2, 0.8], [0.8, 0.2]
    held = 1e9
    for matrix in (
        estimate_noise_matrix(y, proba, pseudo_count=held),
        noise_matrix_from_joint(100 * confident_joint(y, proba), held),
    ):
        np.testing.assert_allclose(matrix, [[0.9, 0.1], [0.1, 0.9]], atol=1e-6)


def test_half_precision_probabilities_do_not_underflow():
    proba = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float16)
    posterior = label_posterior(proba, np.array([1, 1]), np.full((2, 2), 0.5))
    assert posterior.dtype == np.float64
    np.testing.assert_allclose(posterior, [[1, 1e-12], [1e-12, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    "proba, y, message",
    [
        ([[0.5, np.nan]], [0], "between 0 and 1, found values from nan"),
        (np.log([[0.9, 0.1]]), [0], "between 0 and 1, found values from -2.3 to -0.105"),
        ([[0.9, 0.1]], [-1], r"codes 0\.\.1, one a column of proba, found \[-1\]"),
        ([[0.9, 0.1]], [2], r"codes 0\.\.1, .* found \[2\]"),
        ([[0.9, 0.1]], ["a"], r"codes 0\.\.1, .* found \['a'\].*return_inverse"),
        ([[0.9, 0.1]], [0, 1], r"proba has shape \(1, 2\) and y \(2,\)"),
        ([0.9, 0.1], [0, 1], r"proba has shape \(2,\)"),
    ],
)
def test_what_are_no_probabilities_or_codes_is_said(proba, y, message):
    uses = [
        lambda: confident_joint(y, proba),
        lambda: estimate_noise_matrix(y, proba),
        lambda: label_posterior(proba, y, np.full((2, 2), 0.5)),
        lambda: fit_label_model([proba], y),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=message):
            use()


def test_lists_are_read_as_arrays():
    proba, y, weight = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], [0, 1, 1], [1, 1, 2]
    arrays = np.array(proba), np.array(y), np.array(weight, dtype=float)
    np.testing.assert_array_equal(
        estimate_noise_matrix(y, proba, sample_weight=weight),
        estimate_noise_matrix(arrays[1], arrays[0], sample_weight=arrays[2]),
    )
    found = fit_label_model([proba], y, sample_weight=weight)
    expected = fit_label_model([arrays[0]], arrays[1], sample_weight=arrays[2] / arrays[2].mean())
    np.testing.assert_array_equal(found.posterior, expected.posterior)


def test_any_sharpening_gives_a_posterior():
    matrix = np.array([[0.8, 0.2], [0.2, 0.8]])
    posterior = label_posterior(
        np.array([[0.4, 0.3]]) / 0.7, np.array([1]), matrix, sharpening=1e4
    )
    np.testing.assert_allclose(posterior, [[1, 0]], atol=1e-12)


def test_a_row_at_the_mean_of_its_class_counts():
    """All rows of class 0 are as sure as each other, and so is the one that was given class 1."""
    proba = np.array([[0.7, 0.3], [0.7, 0.3], [0.3, 0.7], [0.3, 0.7], [0.7, 0.3]])
    joint = confident_joint(np.array([0, 0, 1, 1, 1]), proba)
    np.testing.assert_allclose(joint, [[0.4, 0.2], [0.0, 0.4]])


def test_a_row_belongs_to_the_class_that_it_is_confident_of_not_to_the_likeliest():
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.7, 0.3]])
    # Class 0 asks for 0.75, class 1 for 0.3: the second row is given 0 and confidently 1.
    joint = confident_joint(np.array([0, 0, 1, 1]), proba)
    np.testing.assert_allclose(joint, [[0.25, 0.0], [0.25, 0.5]])


def test_no_row_is_counted_for_a_class_that_no_row_was_given():
    proba = np.array([[0.4, 0.1, 0.5], [0.1, 0.3, 0.6], [0.2, 0.4, 0.4]])
    joint = confident_joint(np.array([0, 1, 1]), proba)
    np.testing.assert_array_equal(joint[2], 0)
    np.testing.assert_allclose(joint.sum(axis=0), [1 / 3, 2 / 3, 0])


def test_weights_are_rows_to_the_shrinkage_too():
    y, proba = draw(2)
    times = np.random.default_rng(0).integers(1, 4, size=len(y))
    again = np.repeat(np.arange(len(y)), times)
    np.testing.assert_allclose(
        estimate_noise_matrix(y, proba, sample_weight=times, pseudo_count=5.0),
        estimate_noise_matrix(y[again], proba[again], pseudo_count=5.0),
    )


def test_labels_move_to_the_classes_that_are_given_often():
    """Class 1 is given often and true seldom: it is what a row of class 2 may have become."""
    y = np.repeat([0, 1, 2], [30, 60, 10])
    proba = np.eye(3)[np.repeat([0, 2], [70, 30])]
    joint = confident_joint(y, proba)
    given = joint.sum(axis=0)
    for matrix, moved_to in (
        (estimate_noise_matrix(y, proba, pseudo_count=1e9), given),
        (noise_matrix_from_joint(100 * joint, 1e9), (given + 1 / 3) / 2),
    ):
        np.testing.assert_allclose(np.diag(matrix), np.trace(joint), atol=1e-6)
        for c, (d, e) in enumerate([(1, 2), (0, 2), (0, 1)]):
            np.testing.assert_allclose(matrix[c, d] / matrix[c, e], moved_to[d] / moved_to[e])


def test_a_class_of_no_rows_and_an_only_class_have_a_row_of_the_matrix():
    empty = noise_matrix_from_joint(np.diag([4.0, 0.0]), pseudo_count=0.0)
    np.testing.assert_allclose(empty, [[1, 0], [0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(noise_matrix_from_joint(np.array([[4.0]]), 1.0), [[1]])


def test_rounding_may_take_a_probability_above_one_but_nothing_else():
    y = np.array([0, 1])
    confident_joint(y, np.array([[1.001, 0.0], [0.0, 1.001]]))
    with pytest.raises(ValueError, match=r"between 0 and 1, found values from 0 to 1\.5"):
        confident_joint(y, np.array([[1.5, 0.0], [0.0, 1.0]]))
