"""Any data give finite probabilities, or are refused in words that say why."""

from __future__ import annotations

import pytest
from _problems import FLAGS, LABELS, RECIPES, SCALES, WEIGHTS, Problem, outcome, short_target
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_dsink import _parameters

problems = st.builds(
    Problem,
    n_rows=st.integers(1, 200),
    n_features=st.integers(1, 50),
    n_classes=st.integers(2, 30),
    seed=st.integers(0, 10**6),
    labels=st.sampled_from(sorted(LABELS)),
    scale=st.sampled_from(sorted(SCALES)),
    weights=st.sampled_from(sorted(WEIGHTS)),
    flags=st.sets(st.sampled_from(FLAGS), max_size=3).map(sorted).map(tuple),
    recipe=st.sampled_from(sorted(RECIPES)),
)


@pytest.fixture(scope="module", autouse=True)
def _short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parameters, "default_target", short_target(2))
        yield


@settings(
    max_examples=max(100, settings.get_profile(settings.get_current_profile_name()).max_examples)
)
@given(problems)
def test_any_data_give_finite_probabilities(problem):
    assert outcome(problem) in ("survived", "clear error")


@pytest.mark.parametrize(
    "problem",
    [
        # All rows of positive weight in one fold of two, and in two folds of five.
        Problem(5, 1, 2, seed=3, weights="zeros"),
        Problem(5, 1, 2, seed=3, weights="zeros", recipe="five folds"),
    ],
)
def test_what_once_failed(problem):
    assert outcome(problem) == "survived"
