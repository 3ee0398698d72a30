"""The transport over blocks that are read anew, and over rows that weigh nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _scores import make_scores
from numpy.testing import assert_allclose

from sklearn_dsink.transport import solve, solve_blocks


@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_read_anew_give_what_the_whole_gives(weighted):
    scores, marginal = make_scores(n_samples=1000, sharpness=2)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 1000) if weighted else None
    expected = solve(scores, marginal, sample_weight=weight, tol=1e-8)

    def blocks():
        for low in range(0, 1000, 300):
            rows = slice(low, low + 300)
            yield scores[rows] if weight is None else (scores[rows], weight[rows])

    result = solve_blocks(blocks, marginal, tol=1e-8)
    assert result.converged
    assert_allclose(result.potentials, expected.potentials, atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        lambda scores: scores.astype(np.float16),
        lambda scores: (10 * scores).astype(int),
        lambda scores: torch.tensor(scores, requires_grad=True),
    ],
    ids=["float16", "integers", "tensors"],
)
def test_blocks_of_any_kind_of_number(kind):
    scores, marginal = make_scores(n_samples=300)
    scores, weight = kind(scores), kind(np.linspace(-1, -2, 300)) * -1
    expected = solve(scores, marginal, sample_weight=weight)

    def blocks():
        yield scores[:0], weight[:0]
        for rows in (slice(0, 100), slice(100, 300)):
            yield scores[rows], weight[rows]

    result = solve_blocks(blocks, marginal)
    assert result.converged
    assert_allclose(result.potentials, expected.potentials, atol=1e-5)


def test_bad_blocks_are_named():
    with pytest.raises(ValueError, match="blocks must yield scores of shape"):
        solve_blocks(lambda: [np.zeros((2, 3))], [0.5, 0.5])
    with pytest.raises(ValueError, match="rows of positive weight"):
        solve_blocks(list, [0.5, 0.5])
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        solve_blocks(lambda: [(np.zeros((2, 2)), np.array([1.0, -1.0]))], [0.5, 0.5])


@pytest.mark.parametrize("library", [np.asarray, torch.tensor])
def test_the_curvature_is_that_of_rows_that_weigh_something(library):
    """Regression: every second row, all of them of weight 0, told nothing, and steps were lost."""
    scores, marginal = make_scores(n_samples=20_000, n_classes=10, sharpness=8)
    weight = np.tile([0.0, 1.0], 10_000)
    expected = solve(scores[1::2], marginal)
    result = solve(library(scores), marginal, sample_weight=library(weight))
    streamed = solve_blocks(lambda: [(scores, weight)], marginal)
    for found in (result, streamed):
        assert found.converged
        assert found.n_iter <= expected.n_iter + 2
        assert_allclose(np.asarray(found.potentials), expected.potentials, atol=1e-4)


@pytest.mark.parametrize("solver", ["auto", "pot", "potentials"])
def test_rows_of_weight_0_say_nothing_where_a_class_is_out_of_reach(solver):
    scores = np.array([[0.0, -1000.0], [0.0, -1000.0], [0.0, 0.0]])
    result = solve(scores, [0.5, 0.5], sample_weight=[1, 1, 0], solver=solver)
    alone = solve(scores[:2], [0.5, 0.5], solver=solver)
    assert_allclose(result.potentials, alone.potentials)
    assert_allclose(alone.potentials, [-500, 500])
