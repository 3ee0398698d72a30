"""The transport's mathematics: marginals, optimality, limits, and that both solvers agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _scores import make_scores
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.exceptions import ConvergenceWarning

from sklearn_dsink import _kernel, transport
from sklearn_dsink._kernel import GibbsKernel, exact_totals, float64
from sklearn_dsink._potentials import minimise
from sklearn_dsink.transport import (
    class_totals,
    floor_marginal,
    mean_log_proba,
    solve,
    solve_blocks,
    solve_labels,
    surrogate_labels,
)


@st.composite
def problems(draw):
    """Sizes from one block of a few rows on, flat and sharp experts, rare classes, weights."""
    n_classes = draw(st.integers(2, 12))
    n_samples = draw(st.integers(3, 400))
    seed = draw(st.integers(0, 2**20))
    scores, _ = make_scores(n_samples, n_classes, draw(st.floats(0.0, 2.5)), seed)
    rng = np.random.default_rng(seed)
    marginal = rng.dirichlet(np.ones(n_classes))
    rarest = draw(st.sampled_from([0.1, 1e-2, 1e-3])) / n_classes
    weight = rng.uniform(0.1, 2, n_samples) if draw(st.booleans()) else None
    return scores, floor_marginal(marginal, rarest), weight


@given(problems())
def test_solvers_agree_on_labels_that_meet_the_marginals(problem):
    scores, marginal, weight = problem
    labels = {}
    for solver in ("pot", "potentials"):
        result = solve(
            scores, marginal, sample_weight=weight, solver=solver, tol=1e-11, max_iter=50_000
        )
        assert result.converged
        assert result.solver == solver
        assert result.marginal_error <= 1e-11
        labels[solver] = surrogate_labels(scores, result.potentials)
        assert_allclose(labels[solver].sum(axis=1), 1, atol=1e-12)
        assert_allclose(np.average(labels[solver], axis=0, weights=weight), marginal, atol=1e-9)
    assert_allclose(labels["pot"], labels["potentials"], atol=1e-6)


@given(problems())
def test_float32_meets_the_default_tolerance(problem):
    """Rows that repeat are the hard case: what rounds one of them rounds them all."""
    scores, marginal, weight = problem
    scores = np.tile(scores, (10, 1)).astype(np.float32)
    weight = None if weight is None else np.tile(weight, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "FLOAT64_SIZE", 0)
        result = solve(scores, marginal, sample_weight=weight, solver="potentials")
    shares = class_totals(scores, result.potentials, weight)
    assert result.converged
    assert abs(shares - marginal).sum() <= 2e-6


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_labels_solve_the_problem_of_the_paper(solver):
    """No other labels of the same totals are closer to both experts."""
    rng = np.random.default_rng(0)
    log_noise, log_target = log_softmax(rng.normal(size=(2, 30, 4)), axis=2)
    marginal = np.array([0.4, 0.3, 0.2, 0.1])
    scores = mean_log_proba(log_noise, log_target)
    q = surrogate_labels(scores, solve(scores, marginal, solver=solver, tol=1e-12).potentials)

    def objective(q):
        cost = -log_noise - log_target
        return (q * cost).sum() + 2 * (q * np.log(q)).sum()

    for _ in range(20):
        # A swap between two samples and two classes keeps rows and totals.
        i, j = rng.choice(30, 2, replace=False)
        c, d = rng.choice(4, 2, replace=False)
        other = q.copy()
        delta = 0.3 * min(q[i, c], q[j, d])
        other[[i, i, j, j], [c, d, c, d]] += [-delta, delta, delta, -delta]
        assert_allclose(other.mean(axis=0), marginal, atol=1e-9)
        assert objective(other) > objective(q)


def test_shares_are_the_gradient_of_the_semi_dual():
    scores, marginal = make_scores()
    g = np.random.default_rng(1).normal(size=len(marginal))

    def semi_dual(g):
        return logsumexp(scores + g, axis=1).mean() - marginal @ g

    eps = 1e-5
    numeric = [(semi_dual(g + eps * e) - semi_dual(g - eps * e)) / (2 * eps) for e in np.eye(6)]
    assert_allclose(class_totals(scores, g) - marginal, numeric, atol=1e-9)


def test_overlap_is_the_curvature_of_the_semi_dual():
    scores, _ = make_scores()
    g = np.random.default_rng(1).normal(size=6)
    with GibbsKernel(scores, None, dtype="float64", block_size=64) as kernel:
        kernel.totals(g)  # the first pass writes the kernel
        overlap, shares = kernel.overlap(g)
    root = np.sqrt(shares)
    hessian = np.diag(shares) - root[:, None] * overlap * root
    eps = 1e-5
    numeric = [
        (class_totals(scores, g + eps * e) - class_totals(scores, g - eps * e)) / (2 * eps)
        for e in np.eye(6)
    ]
    assert_allclose(hessian, numeric, atol=1e-9)


def test_target_gradient_holds_the_labels_fixed():
    """Envelope theorem: the optimal value moves with f as if q did not."""
    rng = np.random.default_rng(0)
    noise, target = log_softmax(rng.normal(size=(2, 20, 3)), axis=2)
    marginal = np.array([0.5, 0.3, 0.2])

    def value(target):
        scores = mean_log_proba(noise, target)
        q = surrogate_labels(scores, solve(scores, marginal, tol=1e-12).potentials)
        return (q * (np.log(q) - noise)).sum() + (q * (np.log(q) - target)).sum(), q

    _, q = value(target)
    direction, eps = rng.normal(size=target.shape), 1e-5
    numeric = (value(target + eps * direction)[0] - value(target - eps * direction)[0]) / (2 * eps)
    assert_allclose(numeric, -(q * direction).sum(), rtol=1e-6)


def test_repeated_distillation_ends_at_the_noise_auxiliary_with_offsets():
    """The fixed point of f <- q is softmax(log f_N + h) with the class totals asked for."""
    log_noise, marginal = make_scores(n_samples=100)
    log_target, potentials = make_scores(n_samples=100, seed=5)[0], None
    for _ in range(60):
        scores = mean_log_proba(log_noise, log_target)
        potentials = solve(scores, marginal, tol=1e-12, init=potentials).potentials
        log_target = np.log(surrogate_labels(scores, potentials))
    offsets = solve(log_noise, marginal, tol=1e-12).potentials
    assert_allclose(np.exp(log_target), softmax(log_noise + offsets, axis=1), atol=1e-8)


def test_expert_weights_tilt_the_scores():
    log_noise, log_target = np.log([[0.9, 0.1]]), np.log([[0.3, 0.7]])
    assert_allclose(mean_log_proba(log_noise, log_target, weights=(1, 0)), log_noise)
    assert_allclose(
        mean_log_proba(log_noise, log_target, weights=(3, 1)), 0.75 * log_noise + 0.25 * log_target
    )
    out = log_target.copy()
    assert mean_log_proba(log_noise, out, weights=(3, 1), out=out) is out
    assert_allclose(out, 0.75 * log_noise + 0.25 * log_target)
    assert mean_log_proba(log_noise) is log_noise


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_relaxed_constraint_has_both_limits(solver):
    scores, marginal = make_scores()
    hard = solve(scores, marginal, solver=solver)
    stiff = solve(scores, marginal, solver=solver, relaxation=1e6)
    loose = solve(scores, marginal, solver=solver, relaxation=1e-6)
    dropped = solve(scores, marginal, solver=solver, relaxation=0)
    for infinite in (np.inf, 1e30, 1e100):
        result = solve(scores, marginal, solver=solver, relaxation=infinite)
        assert_allclose(result.potentials, hard.potentials, atol=1e-8)
    assert_allclose(stiff.potentials, hard.potentials, atol=1e-4)
    assert_allclose(loose.potentials, 0, atol=1e-4)
    assert_array_equal(dropped.potentials, 0)
    tiny = solve(scores, marginal, solver=solver, relaxation=1e-308)
    assert_array_equal(tiny.potentials, 0)
    free = softmax(scores, axis=1).mean(axis=0)
    assert_allclose(dropped.marginal_error, abs(free - marginal).sum(), atol=1e-6)
    assert dropped.converged


@pytest.mark.parametrize("solver", ["pot", "potentials"])
@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_relaxed_potentials_are_the_fixed_point(solver, gamma):
    scores, marginal = make_scores()
    result = solve(scores, marginal, solver=solver, relaxation=gamma, tol=1e-10)
    # The formula's fixed point has a constant of its own; take it up before comparing.
    g = result.potentials
    g = g + gamma / 2 * np.log((marginal * np.exp(-2 * g / gamma)).sum())
    step = np.log(marginal) - np.log(class_totals(scores, g))
    assert_allclose(gamma / (gamma + 2) * (g + step), g, atol=1e-7)
    assert result.converged


def test_marginal_error_falls_as_the_constraint_stiffens():
    scores, marginal = make_scores()
    errors = [solve(scores, marginal, relaxation=r).marginal_error for r in (0, 0.5, 2, 10, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("solver", ["pot", "potentials"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_give_what_arrays_give(solver, dtype):
    scores, marginal = make_scores()
    tensor = torch.tensor(scores, dtype=dtype, requires_grad=True)
    expected = solve(scores, marginal, solver=solver)
    result = solve(tensor, torch.tensor(marginal, requires_grad=True), solver=solver)
    assert isinstance(result.potentials, torch.Tensor)
    assert not result.potentials.requires_grad
    assert_allclose(result.potentials.numpy(), expected.potentials, atol=1e-5)
    labels = surrogate_labels(tensor, result.potentials)
    assert labels.dtype == dtype
    assert not labels.requires_grad
    assert_allclose(labels.numpy(), surrogate_labels(scores, expected.potentials), atol=1e-5)
    assert_allclose(
        class_totals(tensor, result.potentials).numpy(),
        class_totals(scores, expected.potentials),
        atol=1e-5,
    )


@pytest.mark.parametrize("gamma", [np.inf, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_device_path_gives_what_the_host_path_gives(gamma, weighted):
    """Tensors in host memory are solved as arrays, so the path of a device is called directly."""
    scores, marginal = make_scores(n_samples=1500, sharpness=2)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 1500) if weighted else None
    solutions = []
    for values in (scores, torch.tensor(scores)):
        mass = None if weight is None else float64(weight / weight.mean(), values)
        b = float64(marginal, values)
        with GibbsKernel(values, mass, block_size=512) as kernel:
            solutions.append(minimise(kernel, b, gamma, 1e-6, 100, 0 * b))
        assert_allclose(exact_totals(values, solutions[-1][0], mass), solutions[-1][2], atol=2e-7)
    (host, _, _, host_gap), (device, _, _, device_gap) = solutions
    assert isinstance(device, torch.Tensor)
    assert max(host_gap, device_gap) <= 1e-6
    assert_allclose(device.numpy(), host, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_gpu_tensors_stay_on_the_gpu(solver):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    scores, marginal = make_scores(n_samples=5000, n_classes=20)
    tensor = torch.tensor(scores, dtype=torch.float32, device="cuda")
    expected = solve(scores, marginal)
    result = solve(tensor, marginal, solver=solver)
    labels = surrogate_labels(tensor, result.potentials)
    assert result.potentials.is_cuda
    assert labels.is_cuda
    assert result.converged
    reference = surrogate_labels(scores, expected.potentials)
    assert_allclose(labels.cpu().numpy(), reference, atol=1e-5)


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_warm_start_takes_fewer_iterations(solver):
    scores, marginal = make_scores(n_samples=2000, sharpness=2)
    cold = solve(scores, marginal, solver=solver)
    moved = scores + 0.01 * np.random.default_rng(0).normal(size=scores.shape)
    warm = solve(moved, marginal, solver=solver, init=cold.potentials)
    again = solve(scores, marginal, solver=solver, init=cold.potentials)
    assert again.n_iter == 1
    assert warm.n_iter < solve(moved, marginal, solver=solver).n_iter


def test_auto_finishes_what_sinkhorn_does_not():
    """Guards: costs as sharp as a confident net's, where Sinkhorn steps crawl."""
    rng = np.random.default_rng(0)
    scores = log_softmax(15 * rng.normal(size=(60, 5)), axis=1)
    marginal = [0.3, 0.3, 0.2, 0.15, 0.05]
    with pytest.warns(ConvergenceWarning, match=r"The transport \(pot\)"):
        solve(scores, marginal, solver="pot", max_iter=transport.AUTO_POT_ITERATIONS)
    result = solve(scores, marginal)  # a warning would be an error
    assert result.converged
    assert result.solver == "potentials"


def test_newton_needs_far_fewer_passes_than_sinkhorn():
    scores, marginal = make_scores(n_samples=2000, sharpness=3)
    newton = solve(scores, marginal, solver="potentials")
    sinkhorn = solve(scores, marginal, solver="pot")
    assert newton.converged
    assert newton.n_iter <= 12
    assert sinkhorn.n_iter > 4 * newton.n_iter


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_weights_are_repeated_rows(solver):
    scores, marginal = make_scores(n_samples=60)
    times = np.random.default_rng(0).integers(0, 4, 60)
    weighted = solve(scores, marginal, sample_weight=times, solver=solver, tol=1e-10)
    repeated = solve(np.repeat(scores, times, axis=0), marginal, solver=solver, tol=1e-10)
    assert_allclose(weighted.potentials, repeated.potentials, atol=1e-6)


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_nothing_short_of_convergence_is_silent(solver):
    scores, marginal = make_scores(sharpness=3)
    with pytest.warns(ConvergenceWarning, match=r"stopped after 2 iterations .* max_iter"):
        result = solve(scores, marginal, solver=solver, max_iter=2)
    assert not result.converged
    shares = surrogate_labels(scores, result.potentials).mean(axis=0)
    assert_allclose(result.marginal_error, abs(shares - marginal).sum(), atol=1e-6)
    assert result.marginal_error > 1e-6


@pytest.mark.parametrize("solver", ["pot", "potentials"])
def test_scores_far_beyond_the_range_of_exp(solver):
    """Plain exponentials of such scores are zeros, and so would be POT's plan."""
    scores, marginal = make_scores(n_samples=50, n_classes=3)
    scores = 30 * scores - 5000 * np.arange(50)[:, None]
    scores[:, 2] -= 2000
    result = solve(scores, marginal, solver=solver, max_iter=20_000)
    assert result.converged
    assert_allclose(surrogate_labels(scores, result.potentials).mean(axis=0), marginal, atol=1e-6)
    streamed = solve_blocks(lambda: [scores[:20], scores[20:]], marginal)
    assert_allclose(
        surrogate_labels(scores, streamed.potentials).mean(axis=0), marginal, atol=1e-6
    )


def test_block_size_and_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(_kernel, "MIN_THREADED_SIZE", 0)
    monkeypatch.setattr(transport, "FLOAT64_SIZE", 0)
    scores, marginal = make_scores(n_samples=1000)
    expected = solve(scores, marginal).potentials
    for options in ({"block_size": 1}, {"block_size": 300}, {"n_jobs": 2}, {"n_jobs": 3}):
        found = solve(scores, marginal, **options).potentials
        assert_allclose(found, expected, atol=1e-5, err_msg=str(options))


def test_inputs_are_left_as_they_were():
    scores, marginal = make_scores()
    before, b = scores.copy(), marginal.copy()
    for solver in ("pot", "potentials"):
        result = solve(scores, marginal, solver=solver)
        surrogate_labels(scores, result.potentials)
    assert_array_equal(scores, before)
    assert_array_equal(marginal, b)
    in_place = scores.copy()
    assert surrogate_labels(in_place, result.potentials, out=in_place) is in_place
    assert_allclose(in_place, surrogate_labels(before, result.potentials))


@pytest.mark.parametrize("solver", ["pot", "potentials"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_labels_in_place_are_those_of_both_steps(monkeypatch, solver, dtype, library):
    monkeypatch.setattr(transport, "FLOAT64_SIZE", 0)
    scores, marginal = make_scores(n_samples=500)
    scores = scores.astype(dtype)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 500)
    expected = solve(scores, marginal, sample_weight=weight, solver=solver)
    labels = surrogate_labels(scores, expected.potentials)
    before = scores.copy()
    given = torch.from_numpy(scores) if library == "torch" else scores
    for out in (None, np.empty_like(scores), scores):  # the last one overwrites the scores
        out = torch.from_numpy(out) if library == "torch" and out is not None else out
        found, result = solve_labels(given, marginal, out=out, sample_weight=weight, solver=solver)
        assert out is None or found is out
        assert type(found) is type(given)
        assert_allclose(np.asarray(found), labels, atol=2e-6)
        assert_allclose(np.asarray(result.potentials), expected.potentials, atol=1e-5)
        if out is None:
            assert_array_equal(scores, before)


def test_labels_in_place_of_scores_far_beyond_the_range_of_exp(monkeypatch):
    """The kernel must move to potentials of a range that one exponential does not hold."""
    monkeypatch.setattr(transport, "FLOAT64_SIZE", 0)
    scores, marginal = make_scores(n_samples=300, n_classes=3)
    scores = scores.astype(np.float32) - np.arange(300, dtype=np.float32)[:, None]
    scores[:, 2] -= 60
    expected = solve(scores, marginal, solver="potentials")
    assert np.ptp(expected.potentials) > _kernel.SAFE_RANGE
    labels, result = solve_labels(scores.copy(), marginal, solver="potentials")
    assert_allclose(labels, surrogate_labels(scores, result.potentials), atol=1e-4)
    in_place, result = solve_labels(scores, marginal, out=scores, solver="potentials")
    assert result.converged
    assert_allclose(in_place, labels, atol=1e-4)


def test_potentials_have_mean_zero():
    scores, marginal = make_scores()
    for relaxation in (None, 1.0):
        assert abs(solve(scores, marginal, relaxation=relaxation).potentials.mean()) < 1e-12


@pytest.mark.parametrize("solver", ["pot", "potentials"])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"class_marginal": [0.5, 0.5]}, "class_marginal must have shape"),
        ({"class_marginal": [0.5, 0.5, 0.5]}, "class_marginal must sum to 1, found 1.5"),
        ({"class_marginal": [0.5, 0.5, 0.0]}, "class_marginal must be positive"),
        ({"class_marginal": [0.5, np.nan, 0.5]}, "class_marginal must be positive"),
        ({"scores": np.zeros(3)}, "scores must have shape"),
        ({"scores": np.zeros((0, 3))}, "scores must have shape"),
        ({"scores": np.array([[0.0, -np.inf, 0.0]])}, "scores must be finite"),
        ({"scores": np.array([[0.0, np.nan, 0.0]])}, "scores must be finite"),
        ({"sample_weight": [1.0]}, "sample_weight must have shape"),
        ({"sample_weight": [1.0, -1.0, 1.0, 1.0]}, "sample_weight must be finite"),
        ({"sample_weight": [0.0, 0.0, 0.0, 0.0]}, "sample_weight must be finite"),
        ({"init": [0.0, np.inf, 0.0]}, "init must be 3 finite numbers"),
        ({"tol": 0}, "tol must be"),
        ({"max_iter": 1.5}, "max_iter must be an integer"),
        ({"relaxation": -1}, "relaxation must be"),
        ({"block_size": 0}, "block_size must be an integer > 0"),
        ({"block_size": 1.5}, "block_size must be an integer > 0"),
    ],
)
def test_bad_input_is_named(solver, change, message):
    good = {"scores": np.zeros((4, 3)), "class_marginal": np.full(3, 1 / 3)}
    with pytest.raises(ValueError, match=message):
        solve(**{**good, "solver": solver, **change})


def test_bad_input_of_the_helpers_is_named():
    with pytest.raises(ValueError, match='solver must be "auto"'):
        solve(np.zeros((2, 2)), [0.5, 0.5], solver="ot")
    with pytest.raises(ValueError, match="same shape"):
        mean_log_proba(np.zeros((2, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="weights"):
        mean_log_proba(np.zeros((2, 2)), np.zeros((2, 2)), weights=(0, 0))
    with pytest.raises(ValueError, match="floor"):
        floor_marginal([0.5, 0.5], 0.5)
    with pytest.raises(ValueError, match="class_marginal"):
        floor_marginal([0.5, -0.5], 0.1)
    with pytest.raises(ValueError, match="potentials must be 2"):
        surrogate_labels(np.zeros((2, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="out must be float32"):
        surrogate_labels(np.zeros((2, 2)), np.zeros(2), out=np.zeros((2, 2), dtype=int))
    with pytest.raises(ValueError, match="out must have the shape of scores"):
        solve_labels(np.zeros((2, 2)), [0.5, 0.5], out=np.zeros((2, 3)))


def test_floor_keeps_the_order_and_the_sum():
    shares = floor_marginal([0.6, 0.3, 0.1, 0.0], 0.05)
    assert_allclose(shares.sum(), 1)
    assert shares.min() == pytest.approx(0.05)
    assert (np.diff(shares) < 0).all()
    assert_allclose(floor_marginal([2, 3, 5], 0), [0.2, 0.3, 0.5])


@pytest.mark.parametrize("solver", ["auto", "potentials"])
def test_labels_near_one_hot_are_moved_far(solver):
    """Regression: Newton steps that overshot gave way to Sinkhorn steps that crawled."""
    counts = np.array([63, 56, 58])
    labels = np.repeat([0, 1, 2], counts)
    scores = np.log(np.clip(np.eye(3)[labels], 1e-6, None))
    result = solve(scores, (counts + 1) / (counts + 1).sum(), solver=solver)
    assert result.converged
    wasted = transport.AUTO_POT_ITERATIONS if solver == "auto" else 0
    assert result.n_iter < wasted + 100


def test_auto_counts_the_iterations_of_both_solvers():
    scores = np.log(np.clip(np.eye(3)[np.repeat([0, 1, 2], [63, 56, 58])], 1e-6, None))
    with pytest.warns(ConvergenceWarning, match="after 60 iterations"):
        result = solve(scores, [0.2, 0.3, 0.5], max_iter=60)
    assert result.n_iter == 60
