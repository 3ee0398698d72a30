"""Class priors and shares as they are given, and the logarithm of probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from sklearn_dsink import _arrays
from sklearn_dsink.class_values import check_prior, read_by_class

SCORES = arrays(np.float64, (4, 3), elements=st.floats(-50, 50))


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
        ("Train", "must be 'uniform', 'train' or numbers, found 'Train'"),
        ("", "must be 'uniform', 'train' or numbers, found ''"),
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
