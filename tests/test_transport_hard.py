"""Transports that are hard to solve, and whether what is said of a solution is true."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from _scores import make_scores
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning

from sklearn_dsink import transport
from sklearn_dsink._kernel import GibbsKernel
from sklearn_dsink.transport import (
    class_totals,
    floor_marginal,
    solve,
    solve_blocks,
    solve_labels,
    surrogate_labels,
)


def one_hot(counts, depth):
    """Return scores of 0 for the class of a row and ``-depth`` for all others."""
    counts = np.asarray(counts)
    return np.where(
        np.eye(len(counts), dtype=bool)[np.repeat(range(len(counts)), counts)], 0, -depth
    )


@st.composite
def sharp_problems(draw):
    """Labels near one-hot with few rows or none in some classes, and shares that are far off."""
    n_classes = draw(st.integers(2, 10))
    seed = draw(st.integers(0, 2**20))
    depth = draw(st.floats(5, 50))
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(n_classes, draw(st.sampled_from([0.1, 0.5, 5.0]))))
    scores = one_hot(rng.multinomial(draw(st.integers(2, 1000)), prior), depth)
    if draw(st.booleans()):
        scores = scores * rng.uniform(0.5, 1, scores.shape)
    marginal = rng.dirichlet(np.full(n_classes, draw(st.sampled_from([0.1, 1.0]))))
    weight = rng.exponential(size=len(scores)) if draw(st.booleans()) else None
    return scores, floor_marginal(marginal, 0.5 / max(len(scores), n_classes)), weight


@given(sharp_problems())
@example((one_hot([2800, 800, 400], -np.log(1e-6)), np.array([0.05, 0.9, 0.05]), None))
@example((one_hot([35, 5], 50.0), np.array([0.55, 0.45]), None))
def test_labels_near_one_hot_meet_any_shares(problem):
    """Regression: steps that led nowhere were taken for help, or met a singular matrix."""
    scores, marginal, weight = problem
    options = {"sample_weight": weight, "tol": 1e-9}
    results = [solve(scores, marginal, solver="potentials", **options)]
    results.append(solve_blocks(lambda: [(scores, weight)], marginal, tol=1e-9))
    labels = []
    for result in results:
        assert result.converged
        assert result.n_iter < 200
        labels.append(surrogate_labels(scores, result.potentials))
        assert_allclose(np.average(labels[-1], axis=0, weights=weight), marginal, atol=2e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # Sinkhorn may crawl
        sinkhorn = solve(scores, marginal, solver="pot", max_iter=5000, **options)
    if sinkhorn.converged:
        labels.append(surrogate_labels(scores, sinkhorn.potentials))
    for other in labels[1:]:
        assert_allclose(other, labels[0], atol=1e-5)


@given(sharp_problems(), st.sampled_from([1.0, 4.0]))
def test_labels_near_one_hot_in_single_precision(problem, sharper):
    """Regression: a share of 0 led to infinite potentials, and finite scores to an error."""
    scores, marginal, weight = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "FLOAT64_SIZE", 0)
        result = solve(sharper * scores, marginal, sample_weight=weight, solver="potentials")
    assert result.converged
    shares = class_totals(sharper * scores, result.potentials, weight)
    assert_allclose(shares, marginal, atol=5e-6)


def test_a_singular_matrix_is_a_step_that_does_not_help():
    result = solve(one_hot([35, 5], 50.0), [0.55, 0.45], solver="potentials")
    assert result.converged
    assert result.n_iter < 50


@pytest.mark.parametrize("float64_size", [2**18, 0])
def test_tight_tolerances_are_met_on_float32_scores(monkeypatch, float64_size):
    """Regression: float32 scores were shifted in float32, and the error told was another's."""
    monkeypatch.setattr(transport, "FLOAT64_SIZE", float64_size)
    scores = np.log(np.repeat([[0.6, 0.3, 0.1]], 100, axis=0)).astype(np.float32)
    marginal = np.array([0.2, 0.3, 0.5])
    results = [
        solve(scores, marginal, tol=1e-12, solver="potentials"),
        solve_labels(scores, marginal, tol=1e-12, solver="potentials")[1],
        solve_blocks(lambda: [scores[:40], scores[40:]], marginal, tol=1e-12),
    ]
    for result in results:
        assert result.converged
        assert abs(class_totals(scores, result.potentials) - marginal).sum() < 2e-12


def test_the_error_told_is_that_of_the_potentials_in_single_precision(monkeypatch):
    """Regression: what was told was the error of potentials rounded to single precision."""
    monkeypatch.setattr(transport, "FLOAT64_SIZE", 0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # Rows alike, so that their errors do not cancel, and potentials of a wide range.
        scores = np.tile(256 * rng.integers(-2, 1, 3), (50, 1)).astype(np.float32)
        marginal = rng.dirichlet(np.ones(3))
        init = rng.normal(size=3) - scores[0]
        result = solve(scores, marginal, solver="potentials", init=init)
        true = abs(class_totals(scores, result.potentials) - marginal).sum()
        assert_allclose(result.marginal_error, true, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_what_pot_breaks_down_on_is_solved_or_said(seed):
    """Regression: scores were called infinite where POT had made potentials so."""
    rng = np.random.default_rng(302)
    scores = log_softmax(1000 * rng.normal(size=(300, 10)), axis=1)
    marginal = np.full(10, 0.1)
    init = 1000 * np.random.default_rng(seed).normal(size=10)
    assert solve(scores, marginal, init=init).converged
    with pytest.warns(ConvergenceWarning, match="away from optimal"):
        result = solve(scores, marginal, solver="pot", init=init)
    shares = class_totals(scores, result.potentials)
    assert_allclose(result.marginal_error, abs(shares - marginal).sum(), atol=1e-9)


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_the_warning_points_at_the_caller(solver):
    scores = np.log([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    calls = [
        lambda: solve(scores, [0.5, 0.5], solver=solver, max_iter=1),
        lambda: solve_labels(scores, [0.5, 0.5], solver=solver, max_iter=1),
        lambda: solve_blocks(lambda: [scores], [0.5, 0.5], max_iter=1),
    ]
    for call in calls:
        with pytest.warns(ConvergenceWarning) as record:
            call()
        assert [warning.filename for warning in record] == [__file__]


@pytest.mark.parametrize("max_iter", [1, 2, 1000])
def test_iterations_are_the_times_that_shares_were_computed(monkeypatch, max_iter):
    """Also where a class is out of reach, and the start must be looked for."""
    calls = []
    totals = GibbsKernel.totals
    monkeypatch.setattr(GibbsKernel, "totals", lambda self, g: calls.append(g) or totals(self, g))
    scores = np.array([[0.0, -1000.0], [0.0, -1001.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = solve(scores, [0.3, 0.7], solver="potentials", max_iter=max_iter)
    assert result.n_iter == len(calls) <= max_iter
    assert result.converged == (max_iter == 1000)


def test_auto_keeps_to_max_iter_and_counts_both_solvers(monkeypatch):
    monkeypatch.setattr(transport, "AUTO_POT_ITERATIONS", 20)
    with pytest.warns(ConvergenceWarning, match=r"\(potentials\) stopped after 25 iterations"):
        result = solve(one_hot([63, 56, 58], 14), [0.2, 0.3, 0.5], max_iter=25)
    assert result.n_iter == 25


def test_auto_goes_on_where_sinkhorn_ended(monkeypatch):
    scores, marginal = make_scores(n_samples=500, sharpness=3)
    monkeypatch.setattr(transport, "AUTO_POT_ITERATIONS", 20)
    result = solve(scores, marginal)
    afresh = solve(scores, marginal, solver="potentials")
    assert result.solver == "potentials"
    assert result.n_iter - 20 < afresh.n_iter / 2


def test_auto_takes_pot_for_few_entries_and_the_potentials_for_many():
    for n_samples, solver in ((100, "pot"), (2000, "potentials")):
        scores, marginal = make_scores(n_samples)
        assert solve(scores, marginal).solver == solver


@pytest.mark.parametrize(
    "options",
    [{"relaxation": 2.0}, {"tol": 1e-2}, {"tol": 1e-11}, {"init": [0, 1, 2, 0, 0, 0]}],
    ids=str,
)
def test_labels_and_blocks_hear_of_every_option(options):
    scores, marginal = make_scores(n_samples=400, sharpness=2)
    expected = solve(scores, marginal, solver="potentials", **options)
    plain = solve(scores, marginal, solver="potentials")
    assert expected.n_iter != plain.n_iter or expected.marginal_error > 1e-3
    labels, result = solve_labels(scores, marginal, solver="potentials", **options)
    assert_allclose(labels, surrogate_labels(scores, expected.potentials), atol=1e-9)
    streamed = solve_blocks(lambda: [scores[:150], scores[150:]], marginal, **options)
    for found in (result, streamed):
        assert found.n_iter == expected.n_iter
        assert_allclose(found.potentials, expected.potentials, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_newton_steps_know_of_the_relaxation(gamma):
    scores, marginal = make_scores(n_samples=2000, sharpness=3)
    result = solve(scores, marginal, solver="potentials", relaxation=gamma, tol=1e-9)
    assert result.converged
    assert result.n_iter <= 12


def test_a_loose_relaxation_may_start_anywhere():
    scores, marginal = make_scores()
    expected = solve(scores, marginal, solver="potentials", relaxation=1e-3)
    init = np.linspace(-5, 5, len(marginal))
    result = solve(scores, marginal, solver="potentials", relaxation=1e-3, init=init)
    assert result.converged
    assert_allclose(result.potentials, expected.potentials, atol=1e-6)


def test_a_tolerance_below_rounding_is_given_up_early():
    scores, marginal = make_scores()
    with pytest.warns(ConvergenceWarning, match="away from optimal"):
        result = solve(scores, marginal, solver="potentials", tol=1e-30)
    assert result.n_iter < 100
    assert result.marginal_error < 1e-14


def test_labels_in_place_of_scores_that_no_exponential_holds(monkeypatch):
    """What is more than 80 below the best of its row counts as 80 below it."""
    monkeypatch.setattr(transport, "FLOAT64_SIZE", 0)
    scores, _ = make_scores(n_samples=300, n_classes=3)
    scores[:, 2] -= 60
    scores[::2, 1] -= 200
    marginal, scores = [0.4, 0.2, 0.4], scores.astype(np.float32)
    counted = np.maximum(scores, scores.max(axis=1, keepdims=True) - 80)
    expected = solve(counted, marginal, solver="potentials")
    in_place, result = solve_labels(scores, marginal, out=scores, solver="potentials")
    assert in_place is scores
    assert result.converged
    assert_allclose(in_place, surrogate_labels(counted, expected.potentials), atol=1e-4)


def test_labels_in_place_from_potentials_far_off(monkeypatch):
    """The scores are read back from a kernel that was moved before, to the wrong side."""
    monkeypatch.setattr(transport, "FLOAT64_SIZE", 0)
    scores, _ = make_scores(n_samples=300, n_classes=3)
    scores[:, 2] -= 30
    marginal, scores = [0.4, 0.2, 0.4], scores.astype(np.float32)
    options = {"solver": "potentials", "init": [0.0, 0.0, -60.0]}
    labels, expected = solve_labels(scores, marginal, **options)
    in_place, result = solve_labels(scores, marginal, out=scores, **options)
    assert result.converged
    assert_allclose(in_place, labels, atol=1e-4)
    assert_allclose(result.potentials, expected.potentials, atol=1e-3)


def test_a_class_that_no_row_of_the_curvature_has_is_solved():
    scores, _ = make_scores(n_samples=10_000, n_classes=4, sharpness=3)
    scores[:, 3] = -2000
    scores[[1, 3], 3] = 0
    result = solve(scores, [0.5, 0.2998, 0.2, 0.0002], solver="potentials")
    assert result.converged


def test_totals_of_very_many_rows_are_added_up_in_double_precision():
    proba = np.random.default_rng(0).dirichlet(np.ones(3), size=300_000)
    scores = np.log(proba + 1e-9).astype(np.float32)
    with GibbsKernel(scores, None, block_size=2**16) as kernel:
        shares = kernel.totals(np.zeros(3))
    assert_allclose(shares, class_totals(scores, np.zeros(3)), atol=1e-8, rtol=0)


def test_shares_that_the_floor_lowers_below_it_are_raised_again():
    shares = floor_marginal([0.55, 0.24, 0.21, 0.0], 0.2)
    assert_allclose(shares, [1 - 3 * 0.2, 0.2, 0.2, 0.2])
