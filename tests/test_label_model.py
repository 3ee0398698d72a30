"""The label model: known noise, shares and posteriors are found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import recall_score

from sklearn_dsink import _arrays, label_model
from sklearn_dsink.label_model import fit_label_model, smooth_log


def observe(true, matrix, rng, skill):
    """Probabilities of the given labels, as a model of a certain skill has them out of fold."""
    n_classes = len(matrix)
    seen = np.where(rng.random(len(true)) < skill, true, rng.integers(n_classes, size=len(true)))
    clean = np.full((len(true), n_classes), (1 - skill) / n_classes)
    clean[np.arange(len(true)), seen] += skill
    return clean @ matrix


def simulate(shares=(0.6, 0.3, 0.1), rate=0.3, skills=(0.9, 0.7), n_rows=2000, seed=0):
    rng = np.random.default_rng(seed)
    n_classes = len(shares)
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    true = rng.choice(n_classes, size=n_rows, p=shares)
    y = (rng.random(n_rows)[:, None] > matrix[true].cumsum(axis=1)).sum(axis=1)
    y = np.minimum(y, n_classes - 1)
    return true, y, matrix, [observe(true, matrix, rng, skill) for skill in skills]


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(4, 40))
def test_any_probabilities_give_a_proper_model(seed, n_classes, n_rows):
    rng = np.random.default_rng(seed)
    y = np.append(np.arange(n_classes), rng.integers(n_classes, size=n_rows))
    proba = rng.dirichlet(np.full(n_classes, 0.1), size=(2, len(y)))
    model = fit_label_model(list(proba), y)
    assert np.isfinite(model.posterior).all()
    np.testing.assert_allclose(model.posterior.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.noise_matrix.sum(axis=1), 1)
    np.testing.assert_allclose(model.class_share.sum(), 1)
    assert (model.class_share > 0).all()
    assert (model.noise_matrix > 0).all()
    assert (model.exponents >= 0).all()
    assert 0 <= model.prior_exponent <= 1


def test_known_noise_and_shares_are_found():
    true, y, matrix, probas = simulate()
    model = fit_label_model(probas, y)
    given_error = np.abs(np.bincount(y) / len(y) - [0.6, 0.3, 0.1]).sum()
    assert np.abs(model.class_share - [0.6, 0.3, 0.1]).sum() < given_error
    assert np.abs(model.noise_matrix - matrix).max() < 0.2
    right = (model.posterior.argmax(axis=1) == true).mean()
    assert right > (y == true).mean() + 0.15
    assert right > max((proba.argmax(axis=1) == true).mean() for proba in probas)


def test_the_better_model_gets_the_larger_exponent():
    _, y, _, probas = simulate(skills=(0.9, 0.2))
    model = fit_label_model(probas, y)
    # Flatter probabilities would need a larger exponent at equal skill.
    effect = model.exponents * [np.log(proba).std() for proba in probas]
    assert effect[0] > effect[1]


def test_a_power_below_one_makes_the_pool_less_sure_and_nothing_else():
    _, y, _, probas = simulate()
    full, less = fit_label_model(probas, y), fit_label_model(probas, y, power=0.5)
    np.testing.assert_allclose(less.exponents, full.exponents / 2)
    np.testing.assert_array_equal(less.noise_matrix, full.noise_matrix)
    half = np.sqrt(np.exp(full.log_proba(probas)))
    half /= half.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(less.log_proba(probas)), half, rtol=1e-6)
    assert less.posterior.max(axis=1).mean() < full.posterior.max(axis=1).mean()


def test_the_prior_that_balanced_models_left_out_is_put_back():
    _, y, _, balanced = simulate(rate=0.1)
    with_prior = [proba * np.bincount(y) for proba in balanced]
    with_prior = [proba / proba.sum(axis=1, keepdims=True) for proba in with_prior]
    of_balanced, of_others = (fit_label_model(probas, y) for probas in (balanced, with_prior))
    assert of_balanced.prior_exponent > 0.9
    assert of_others.prior_exponent < 0.1
    agreed = of_balanced.posterior.argmax(axis=1) == of_others.posterior.argmax(axis=1)
    assert agreed.mean() > 0.95


@pytest.mark.parametrize("seed", range(4))
def test_a_class_that_one_model_gives_up_is_found_by_the_other(seed):
    true, y, _, (blind, balanced) = simulate((0.75, 0.23, 0.02), 0.2, (0.95, 0.9), 3000, seed)
    blind[:, 2] = 1e-4
    probas = [blind / blind.sum(axis=1, keepdims=True), balanced]
    model = fit_label_model(probas, y)
    for_equal_classes = model.log_proba(probas) + model.offset - np.log(model.class_share)
    recall = recall_score(true, for_equal_classes.argmax(axis=1), average=None)
    assert recall.min() > 0.8


def test_more_rows_hold_the_noise_matrix_nearer_to_noise_that_is_alike_everywhere():
    """A class of few rows cannot tell its own noise: there the overall rate knows better."""
    errors = {1.0: [], 30.0: []}
    for seed in range(5):
        _, y, matrix, probas = simulate((0.9, 0.07, 0.03), skills=(0.8,), n_rows=400, seed=seed)
        for pseudo_count, found in errors.items():
            model = fit_label_model(probas[:1], y, pseudo_count=pseudo_count)
            found.append(np.abs(model.noise_matrix - matrix)[1:].sum(axis=1).mean())
    assert np.mean(errors[30.0]) < np.mean(errors[1.0]) - 0.1


def test_a_given_label_moves_the_posterior_towards_it():
    _, y, _, probas = simulate()
    model = fit_label_model(probas, y)
    without = np.exp(model.log_proba(probas))
    np.testing.assert_allclose(without.sum(axis=1), 1)
    rows = np.arange(len(y))
    assert (model.posterior[rows, y] >= without[rows, y] - 1e-6).mean() > 0.99
    np.testing.assert_allclose(model.label(probas, y), model.posterior, atol=0.02)


def test_renaming_classes_renames_the_answer():
    _, y, _, probas = simulate(n_rows=300)
    order = np.array([2, 0, 1])
    model = fit_label_model(probas, y)
    renamed = fit_label_model([proba[:, np.argsort(order)] for proba in probas], order[y])
    np.testing.assert_allclose(renamed.posterior[:, order], model.posterior, atol=1e-3)


def test_blocks_of_rows_change_nothing_but_the_rounding(monkeypatch):
    _, y, _, probas = simulate()
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(y))
    models = []
    for size in (10**9, 100):
        monkeypatch.setattr(_arrays, "_BLOCK_SIZE", size)
        models.append(fit_label_model(probas, y, sample_weight=weight))
    for name in ("exponents", "noise_matrix", "class_share", "offset", "posterior"):
        whole, by_blocks = (getattr(model, name) for model in models)
        np.testing.assert_allclose(by_blocks, whole, atol=1e-6)


def test_a_part_of_the_entries_finds_about_the_exponents_of_all(monkeypatch):
    _, y, _, probas = simulate(n_rows=6000)
    models = []
    for entries in (2**18, 4500):
        monkeypatch.setattr(label_model, "_MAX_ENTRIES", entries)
        models.append(fit_label_model(probas, y))
    every, part = models
    np.testing.assert_allclose(part.exponents, every.exponents, rtol=0.15)
    assert np.abs(part.posterior - every.posterior).mean() < 0.02
    assert (part.exponents != every.exponents).all()


def test_a_part_of_many_rows_hears_of_a_rare_class_as_all_do(monkeypatch):
    """Rows that are taken stand for all: what is added as so many rows weighs no more."""
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=40_000)
    true[:400] = 4
    sure = rng.normal(size=(len(true), 5))
    sure[np.arange(len(true)), true] += 3
    y = np.where((true == 4) & (rng.random(len(true)) < 0.5), 0, true)
    probas = [softmax(2 * sure, axis=1)]
    models = []
    for most in (10**6, 4000):
        monkeypatch.setattr(label_model, "_MAX_ROWS", most)
        models.append(fit_label_model(probas, y))
    every, part = models
    assert part.noise_matrix[4, 0] == pytest.approx(every.noise_matrix[4, 0], abs=0.08)
    np.testing.assert_array_equal(part.given_share, every.given_share)
    found = [recall_score(true, model.posterior.argmax(axis=1), average=None) for model in models]
    assert found[1][4] > found[0][4] - 0.03


def test_a_part_of_many_rows_has_rows_of_every_kind_in_their_order(monkeypatch):
    """Every second row is wrong about its class, and weighs next to nothing."""
    monkeypatch.setattr(label_model, "_MAX_ROWS", 1000)
    rng = np.random.default_rng(0)
    given, heavy = np.repeat(rng.integers(2, size=1000), 2), np.arange(2000) % 2 == 1
    second = 0.5 + (2 * given - 1) * np.where(heavy, 0.3, -0.3) + rng.normal(0, 0.05, 2000)
    weight = np.where(heavy, 1.0, 1e-3)
    proba = np.stack([1 - second, second], axis=1)
    model = fit_label_model([proba], given, sample_weight=weight)
    assert np.diag(model.noise_matrix).min() > 0.9
    assert np.mean(model.posterior[heavy].argmax(axis=1) == given[heavy]) > 0.95


def test_weights_of_one_change_nothing():
    _, y, _, probas = simulate(n_rows=200)
    plain = fit_label_model(probas, y)
    weighted = fit_label_model(probas, y, sample_weight=np.ones(len(y)))
    np.testing.assert_allclose(weighted.posterior, plain.posterior)


def test_rows_of_weight_0_are_as_if_they_were_not_there():
    _, y, _, probas = simulate(n_rows=400)
    kept = np.random.default_rng(1).random(len(y)) < 0.5
    weighted = fit_label_model(probas, y, sample_weight=kept)
    alone = fit_label_model([proba[kept] for proba in probas], y[kept])
    np.testing.assert_allclose(weighted.exponents, alone.exponents)
    np.testing.assert_allclose(weighted.noise_matrix, alone.noise_matrix)
    np.testing.assert_allclose(weighted.posterior[kept], alone.posterior)
    np.testing.assert_allclose(weighted.class_share, alone.class_share)


def test_without_a_round_the_exponents_are_1():
    _, y, _, probas = simulate(n_rows=200)
    model = fit_label_model(probas, y, max_iter=0)
    np.testing.assert_array_equal(model.exponents, 1)
    np.testing.assert_allclose(model.posterior.sum(axis=1), 1)


@pytest.mark.parametrize("seed", range(3))
def test_weak_models_get_the_rounds_that_they_need(seed):
    shares = np.geomspace(1, 0.1, 6) / np.geomspace(1, 0.1, 6).sum()
    true, y, _, probas = simulate(shares, rate=0.2, skills=(0.3, 0.2), seed=seed)
    flat = [proba**0.3 / (proba**0.3).sum(axis=1, keepdims=True) for proba in probas]
    ten, settled = (fit_label_model(flat, y, max_iter=most, n_starts=1) for most in (10, 40))
    assert ten.n_iter == 10 < settled.n_iter < 40
    right = [(model.posterior.argmax(axis=1) == true).mean() for model in (ten, settled)]
    assert right[1] > right[0] + 0.03


def test_rounds_that_only_make_the_models_surer_are_left_out():
    _, y, _, probas = simulate()
    usual = fit_label_model(probas, y)
    more = fit_label_model(probas, y, min_iter=40)
    assert (usual.n_iter, more.n_iter) == (10, 40)
    assert (more.exponents >= usual.exponents).all()
    assert np.trace(more.noise_matrix) < np.trace(usual.noise_matrix)


def overlapping(seed, n_rows=1000, n_classes=3, rate=0.2):
    """Classes that no one can tell apart well, and two models that are sure of themselves."""
    rng = np.random.default_rng(seed)
    true = rng.integers(n_classes, size=n_rows)
    centers = 0.7 * np.eye(n_classes)
    X = centers[true] + rng.normal(size=(n_rows, n_classes))
    best = softmax(-0.5 * ((X[:, None] - centers) ** 2).sum(axis=2), axis=1)
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    y = np.array([rng.choice(n_classes, p=matrix[label]) for label in true])
    logits = [2 * np.log(best @ matrix) + rng.normal(size=best.shape) for _ in range(2)]
    return true, y, [softmax(each, axis=1) for each in logits]


def test_classes_that_overlap_are_not_taken_for_wrong_labels():
    found = {1: [], 2: []}
    for n_starts in found:
        for seed in range(6):
            true, y, probas = overlapping(seed)
            model = fit_label_model(probas, y, n_starts=n_starts)
            log_proba = model.log_proba(probas)[np.arange(len(y)), true]
            kept = model.class_share @ np.diag(model.noise_matrix)
            right = (model.posterior.argmax(axis=1) == true).mean()
            found[n_starts].append([abs(kept - 0.8), right, -log_proba.mean()])
    (too_few_before, right_before, loss_before), (too_few, right, loss) = (
        np.mean(each, axis=0) for each in found.values()
    )
    assert too_few < too_few_before - 0.1
    assert right > right_before + 0.05
    assert loss < loss_before - 0.1


def test_where_models_tell_the_classes_apart_they_are_believed(monkeypatch):
    _, y, _, probas = simulate()
    usual = fit_label_model(probas, y)
    once = fit_label_model(probas, y, n_starts=1)
    np.testing.assert_array_equal(once.posterior, usual.posterior)
    # Nor are the labels believed that would make a small class larger, however likely that is.
    monkeypatch.setattr(label_model, "_LIKELIER", -np.inf)
    np.testing.assert_array_equal(fit_label_model(probas, y).posterior, usual.posterior)
    monkeypatch.setattr(label_model, "_LARGER", np.inf)
    trusting = fit_label_model(probas, y)
    assert np.trace(trusting.noise_matrix) > np.trace(usual.noise_matrix) + 0.3
    assert trusting.class_share[2] > 1.2 * usual.class_share[2]


@pytest.mark.parametrize("n_classes", [2, 7])
def test_smoothing_keeps_every_class_possible(n_classes):
    log_proba = smooth_log(np.eye(n_classes))
    assert np.isfinite(log_proba).all()
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1)


def test_few_rows_do_not_raise_models_to_any_power(monkeypatch):
    def exponents(n_rows):
        fits = []
        for seed in range(4):
            _, y, _, probas = simulate(n_rows=n_rows, skills=(0.5, 0.4), rate=0.4, seed=seed)
            fits.append(fit_label_model(probas, y).exponents)
        return np.array(fits)

    few, many = exponents(60), exponents(5_000)
    monkeypatch.setattr(label_model, "_PRECISION", 0.0)
    free = exponents(60)
    assert (few.sum(axis=1) <= free.sum(axis=1) + 1e-6).all()
    assert few.sum() < 0.75 * free.sum()
    np.testing.assert_allclose(many, exponents(5_000), atol=0.05)


def test_shares_are_of_the_weight_with_one_row_more_in_each_class():
    _, y, _, probas = simulate(n_rows=300)
    weight = 5.0 * np.random.default_rng(0).integers(0, 4, len(y))
    model = fit_label_model(probas, y, sample_weight=weight)
    rows = weight / weight[weight > 0].mean()
    for share, totals in (
        (model.class_share, rows @ model.posterior),
        (model.given_share, np.bincount(y, rows)),
    ):
        np.testing.assert_allclose(share, (totals + 1) / (totals + 1).sum())


def test_the_model_that_is_right_where_it_weighs_gets_the_larger_exponent():
    _, y, _, (good, bad) = simulate(skills=(0.9, 0.2))
    first = np.arange(len(y)) < len(y) // 2
    probas = [np.where(first[:, None] == side, good, bad) for side in (True, False)]
    for best, weight in enumerate([np.where(first, 1.0, 0.01), np.where(first, 0.01, 1.0)]):
        exponents = fit_label_model(probas, y, sample_weight=weight).exponents
        assert exponents[best] > exponents[1 - best] + 0.3


def test_offsets_bring_the_weighted_pool_to_the_class_shares():
    true, y, _, probas = simulate(rate=0.1)
    probas = [proba * [0.3, 1, 1] for proba in probas]  # both neglect class 0
    probas = [proba / proba.sum(axis=1, keepdims=True) for proba in probas]
    weight = np.where(true == 0, 3.0, 1.0)
    model = fit_label_model(probas, y, sample_weight=weight)
    pool = model.log_proba(probas)

    def gap(offset):
        shares = np.average(softmax(pool + offset, axis=1), axis=0, weights=weight)
        return np.abs(shares - model.class_share).sum()

    assert gap(model.offset) < 0.02


def test_rows_hold_offsets_that_few_rows_ask_for():
    rng = np.random.default_rng(0)
    log_eta = np.log(rng.dirichlet(np.ones(3), size=50))
    weight = rng.uniform(0.5, 1.5, 50)
    share = np.array([0.7, 0.25, 0.05])
    offset = label_model._fit_offset(log_eta, share, weight)
    missing = share * weight.sum() - weight @ softmax(log_eta + offset, axis=1)
    np.testing.assert_allclose(missing, 3 * offset, atol=1e-2)  # as of three rows for each unit


def test_rows_of_next_to_no_weight_do_not_choose_the_start():
    _, y, probas = overlapping(2)
    _, light_y, _, light = simulate((1 / 3, 1 / 3, 1 / 3), n_rows=3000)
    alone = fit_label_model(probas, y)
    models_word = fit_label_model(probas, y, n_starts=1)
    weight = np.repeat([1.0, 1e-6], [len(y), len(light_y)])
    both = [np.vstack(pair) for pair in zip(probas, light, strict=True)]
    model = fit_label_model(both, np.append(y, light_y), sample_weight=weight)
    kept, believed, found = (np.trace(m.noise_matrix) for m in (alone, models_word, model))
    assert kept > believed + 0.2
    assert found > believed + 0.2


def test_few_of_many_rows_speak_for_all_against_the_prior(monkeypatch):
    _, y, _, probas = simulate(n_rows=5000, skills=(0.5, 0.4), rate=0.4)
    monkeypatch.setattr(label_model, "_MAX_ENTRIES", 300)
    held = fit_label_model(probas, y).exponents
    monkeypatch.setattr(label_model, "_PRECISION", 0.0)
    np.testing.assert_allclose(held, fit_label_model(probas, y).exponents, atol=0.1)
