"""Pooling and prior correction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from sklearn_dsink import _arrays
from sklearn_dsink.prediction import apply_prior, check_prior, pool, read_by_class

SCORES = arrays(np.float64, (4, 3), elements=st.floats(-50, 50))
PRIORS = arrays(np.float64, 3, elements=st.floats(1e-6, 1e3))


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-13), (np.float32, 1e-5)])
@given(scores=SCORES, spread=st.sampled_from([0.1, 1.0, 20.0]), row=st.floats(-500, 500))
def test_log_softmax_is_that_of_scipy_near_and_far(dtype, atol, scores, spread, row):
    scores = (spread * scores).astype(dtype)
    scores[0] += row  # one row far from the others, or values of a row far from each other
    expected = log_softmax(scores.astype(np.float64), axis=1)
    found = _arrays.log_softmax(scores)
    assert found.dtype == dtype
    size = np.abs(scores).max() + 1
    np.testing.assert_allclose(found, expected, atol=atol * size, rtol=0)


def test_log_softmax_keeps_zeros_and_finds_what_is_not_a_number():
    scores = np.array([[0.0, -np.inf], [np.nan, 0.0], [1.0, 1.0]])
    found = _arrays.log_softmax(scores)
    np.testing.assert_allclose(found[[0, 2]], [[0, -np.inf], [-np.log(2), -np.log(2)]])
    assert np.isnan(found[1]).all()
    assert _arrays.log_softmax(np.empty((0, 3))).shape == (0, 3)


@given(SCORES, PRIORS)
def test_prior_correction_is_bayes_rule_and_can_be_undone(scores, prior):
    log_proba = log_softmax(scores, axis=1)
    corrected = apply_prior(log_proba, np.log(prior))
    np.testing.assert_allclose(np.exp(corrected).sum(axis=1), 1)
    odds = (corrected - log_proba) - (corrected - log_proba)[:, :1]
    np.testing.assert_allclose(
        odds, np.broadcast_to(np.log(prior / prior[0]), odds.shape), atol=1e-9
    )
    np.testing.assert_allclose(apply_prior(corrected, -np.log(prior)), log_proba, atol=1e-9)


@given(SCORES, st.floats(0.1, 1e3))
def test_the_scale_of_a_prior_does_not_matter(scores, scale):
    log_proba = log_softmax(scores, axis=1)
    again = apply_prior(log_proba, np.full(3, np.log(scale)))
    np.testing.assert_allclose(again, log_proba, atol=1e-13)


@given(SCORES, SCORES)
def test_pool_is_a_geometric_mean_blind_to_row_constants(first, second):
    pooled = pool([first, second], [0.5, 0.5])
    np.testing.assert_allclose(np.exp(pooled).sum(axis=1), 1)
    np.testing.assert_allclose(pooled, pool([second, first], [0.5, 0.5]))
    np.testing.assert_allclose(pooled, pool([first + 7, second], [0.5, 0.5]), atol=1e-9)
    np.testing.assert_allclose(
        pool([first, first], [0.3, 0.7]), log_softmax(first, axis=1), atol=1e-9
    )


def test_pool_counts_a_model_a_weight():
    with pytest.raises(ValueError, match="zip"):
        pool([np.zeros((1, 2))], [0.5, 0.5])


@pytest.mark.parametrize("prior", ["uniform", "train", [0.5, 0.5], np.array([1e-9, 100])])
def test_usable_priors(prior):
    check_prior(prior, np.array(["a", "b"]))


@pytest.mark.parametrize(
    "prior, message",
    [
        ([0.1, 0.2, 0.7], r"shape \(3,\), expected \(2,\).*order \['a', 'b'\]"),
        ([[0.5, 0.5]], r"shape \(1, 2\), expected"),
        ({"a": 1.0}, r"one number for each class: it has \['a'\], the classes are \['a', 'b'\]"),
        ({"a": 1.0, "c": 1.0}, r"it has \['a', 'c'\], the classes are"),
        (pd.Series([0.5, 0.5]), r"it has \[0, 1\], the classes are"),
        (pd.Series([0.2, 0.3, 0.5], index=["a", "b", "b"]), "it has"),
        ([0.0, 1.0], "positive finite numbers.*small share"),
        ([-1.0, 1.0], "positive finite numbers"),
        ([np.inf, 1.0], "positive finite numbers"),
    ],
)
def test_unusable_priors(prior, message):
    with pytest.raises(ValueError, match=f"class_prior .*{message}"):
        check_prior(prior, np.array(["a", "b"]))


@pytest.mark.parametrize("labels", [["a", "b", "c"], [3, 5, 8], [False, True]])
def test_numbers_by_label_come_in_the_order_of_the_classes(labels):
    classes, numbers = np.array(labels), np.arange(1.0, len(labels) + 1)
    by_label = dict(zip(reversed(labels), reversed(numbers.tolist()), strict=True))
    for values in (numbers, numbers.tolist(), by_label, pd.Series(by_label)):
        np.testing.assert_array_equal(read_by_class(values, classes, "prior"), numbers)
