"""KernelClassifier: the least squares it solves, and what it says of rows it leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler

from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.imbalance import KernelClassifier, _kernel_classifier
from sklearn_dsink.imbalance._least_squares import choose_alpha, distinct_rows, solve_ridge


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_kernel_classifier_is_kernel_ridge_on_one_hot_labels(kernel):
    rows, y = load_wine(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    clf = KernelClassifier(
        kernel=kernel, alphas=[2.0], balance=0, gamma=0.05, scale=1, weigh_columns=False
    )
    clf.fit(rows, y)
    targets = np.eye(3)[y]
    gram = 0.05 * rows @ rows.T if kernel == "linear" else rbf_kernel(rows, gamma=0.05)
    ridge = KernelRidge(alpha=2.0, kernel="precomputed").fit(gram, targets - targets.mean(0))
    scores = ridge.predict(gram) + targets.mean(0)
    ours = np.log(clf.predict_proba(rows))
    np.testing.assert_allclose(
        ours - ours.mean(1, keepdims=True), scores - scores.mean(1, keepdims=True), atol=1e-4
    )


def test_strength_is_that_of_the_least_error_left_out():
    rows, y = load_wine(return_X_y=True)
    noisy, _ = flip_labels(y, 0.4, random_state=0)
    rows = StandardScaler().fit_transform(rows)
    alphas = [0.01, 1.0, 100.0]
    errors = []
    for alpha in alphas:
        clf = KernelClassifier(alphas=[alpha], balance=0, weigh_columns=False).fit(rows, noisy)
        left_out = clf.leave_out_proba(rows, noisy, [np.array([i]) for i in range(len(y))])
        log_proba = np.log(np.concatenate(left_out)) / 4  # the scores up to a constant a row
        scores = log_proba - log_proba.mean(axis=1, keepdims=True) + 1 / 3
        errors.append(np.mean((np.eye(3)[noisy] - scores) ** 2))
    clf = KernelClassifier(alphas=alphas, balance=0, weigh_columns=False)
    chosen = clf.fit(rows, noisy).alpha_
    assert chosen == alphas[int(np.argmin(errors))]


def test_kernel_is_that_of_the_least_error_left_out():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(900, 8))
    plane, twos = rows.sum(axis=1) > 0, rows[:, 0] * rows[:, 1] > 0
    for y, best in ((plane, "linear"), (twos, "gaussian")):
        noisy, _ = flip_labels(y.astype(int), 0.2, random_state=0)
        fits = {
            kernel: KernelClassifier(kernel=kernel, balance=0).fit(rows[:300], noisy[:300])
            for kernel in ("gaussian", "linear", "auto")
        }
        score = {kernel: clf.score(rows[300:], y[300:]) for kernel, clf in fits.items()}
        assert fits["auto"].kernel_ == best
        assert fits["auto"].alpha_ == fits[best].alpha_
        assert score["auto"] == score[best] == max(score.values())
        alone = [np.array([i]) for i in range(0, 300, 10)]
        errors = {}
        for kernel in ("gaussian", "linear"):
            left_out = fits[kernel].leave_out_proba(rows[:300], noisy[:300], alone)
            scores = np.log(np.concatenate(left_out)) / 4
            scores += 0.5 - scores.mean(axis=1, keepdims=True)
            errors[kernel] = np.mean((np.eye(2)[noisy[:300:10]] - scores) ** 2)
        assert min(errors, key=errors.__getitem__) == best


def test_very_many_rows_of_one_column_are_solved():
    rng = np.random.default_rng(0)
    places = rng.normal(size=500)
    of_places = np.outer(places, places) + 1e-7 * np.eye(500)
    kernel = np.outer(rng.normal(size=4096), places)
    gram = 1e6 * (kernel.T @ kernel)  # as of four thousand million rows
    wanted = rng.normal(size=500)
    moments = gram @ wanted[:, None]
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(gram + of_places)
    coef = solve_ridge(gram.copy(), moments, of_places, 1e-7)
    np.testing.assert_allclose(kernel @ coef[:, 0], kernel @ wanted, rtol=1e-4)


def test_some_of_the_landmarks_tell_the_strength_nearly_as_well_as_all(monkeypatch):
    rows, y = make_long_tailed(*load_digits(return_X_y=True), 10, random_state=0)
    noisy, _ = flip_labels(y, 0.4, random_state=0)
    alphas = np.geomspace(0.01, 100, 9)
    chosen = []
    for most in (len(rows) // 4, len(rows)):
        monkeypatch.setattr(_kernel_classifier, "_TUNING_LANDMARKS", most)
        chosen.append(KernelClassifier(alphas=alphas).fit(rows, noisy))
    few, every = (np.flatnonzero(alphas == clf.alpha_)[0] for clf in chosen)
    assert abs(few - every) <= 1
    agree = chosen[0].predict(rows) == chosen[1].predict(rows)
    assert agree.mean() > 0.95


def test_a_row_of_weight_two_is_two_rows():
    rows, y = load_wine(return_X_y=True)
    noisy, _ = flip_labels(y, 0.4, random_state=0)
    weight = np.arange(len(y)) % 3 + 1
    weighted = KernelClassifier().fit(rows, noisy, weight)
    repeated = KernelClassifier().fit(np.repeat(rows, weight, axis=0), np.repeat(noisy, weight))
    assert weighted.alpha_ == repeated.alpha_
    np.testing.assert_allclose(
        weighted.predict_proba(rows), repeated.predict_proba(rows), atol=1e-6
    )


def test_columns_weigh_by_the_mean_squared_slope_of_the_scores():
    rows, y = load_wine(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    plain = KernelClassifier(balance=0, weigh_columns=False).fit(rows, y)

    def scores(X):
        log_proba = np.log(plain.predict_proba(X))
        return log_proba - log_proba.mean(axis=1, keepdims=True)  # theirs, up to a factor

    step = 1e-5
    squares = [
        np.mean(((scores(rows + step * along) - scores(rows - step * along)) / step) ** 2)
        for along in np.eye(rows.shape[1])
    ]
    clf = KernelClassifier(balance=0).fit(rows, y)
    np.testing.assert_allclose(clf.relevance_, squares / np.mean(squares), rtol=1e-5)
    assert np.all(plain.relevance_ == 1)


def test_columns_that_say_nothing_hardly_count():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 16))
    y = (rows[:, 0] * rows[:, 1] > 0).astype(int)
    noisy, _ = flip_labels(y, 0.2, random_state=0)
    rows[:, 15] = 3.0
    score = {}
    for weigh in (True, False):
        clf = KernelClassifier(weigh_columns=weigh).fit(rows[:1000], noisy[:1000])
        score[weigh] = clf.score(rows[1000:], y[1000:])
        if weigh:
            assert clf.relevance_[:2].min() > 2 * clf.relevance_[2:].max()
            assert clf.relevance_[15] == 0
    assert score[True] > score[False] + 0.1


def test_columns_that_never_change_leave_the_class_shares():
    clf = KernelClassifier().fit(np.ones((9, 2)), [0, 0, 0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(clf.relevance_, [1, 1])
    assert np.all(clf.predict([[1, 1], [2, 0]]) == 0)


def test_balance_hears_the_tail():
    rows, y = load_wine(return_X_y=True)
    X, labels = make_long_tailed(rows, y, 12, random_state=0)
    recall = [
        np.mean(
            KernelClassifier(balance=b, alphas=[8.0]).fit(X, labels).predict(rows[y == 2]) == 2
        )
        for b in (0.0, 1.0)
    ]
    assert recall[1] > recall[0]


def test_kernel_classifier_leaves_rows_out_as_a_fit_without_them_would():
    rows, y = load_wine(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    parts = [np.arange(0, len(y), 5), np.arange(3, len(y), 7)]
    # One strength, classes and columns as they are: then only scaling and landmarks differ.
    clf = KernelClassifier(alphas=[2.0], balance=0, gamma=0.01, weigh_columns=False)
    left_out = clf.fit(rows, y, weight).leave_out_proba(rows, y, parts, weight)
    for part, proba in zip(parts, left_out, strict=True):
        others = np.setdiff1d(np.arange(len(y)), part)
        refit = clone(clf).fit(rows[others], y[others], weight[others])
        np.testing.assert_allclose(proba, refit.predict_proba(rows[part]), atol=0.05)
        # What is left out has no say, whatever its labels.
        shuffled = y.copy()
        shuffled[part] = np.roll(y[part], 1)
        again = clf.fit(rows, shuffled, weight).leave_out_proba(rows, shuffled, [part], weight)[0]
        np.testing.assert_allclose(proba, again, atol=1e-6)


def test_of_many_parts_each_is_left_out_as_of_few(monkeypatch):
    rows, y = load_wine(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    parts = [np.arange(k, len(y), 20) for k in range(20)] + [np.arange(30)]
    clf = KernelClassifier(random_state=0).fit(rows, y, weight)
    expected = clf.leave_out_proba(rows, y, parts, weight)
    monkeypatch.setattr(_kernel_classifier, "_KEPT_SUMS", 10)
    for few, many in zip(expected, clf.leave_out_proba(rows, y, parts, weight), strict=True):
        np.testing.assert_allclose(many, few, atol=1e-8)


def test_kernel_classifier_predicts_rows_of_no_weight_that_it_leaves_out():
    rows, y = load_wine(return_X_y=True)
    weight = np.ones(len(y))
    weight[::3] = 0
    part = np.arange(0, len(y), 3)
    clf = KernelClassifier()
    heavy = weight > 0
    (proba,) = clf.fit(rows, y, weight).leave_out_proba(rows, y, [part], weight)
    refit = clone(clf).fit(rows[heavy], y[heavy])
    np.testing.assert_allclose(proba, refit.predict_proba(rows[part]), atol=1e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_a_part_that_leaves_nothing_to_learn_from_is_refused(kernel):
    rows, y = load_wine(return_X_y=True)
    weight = (np.arange(len(y)) % 6 == 0).astype(float)
    clf = KernelClassifier(kernel=kernel).fit(rows, y, weight)
    with pytest.raises(ValueError, match="parts: one has all rows of positive weight"):
        clf.leave_out_proba(rows, y, [np.arange(0, len(y), 3)], weight)


@pytest.mark.parametrize("n_landmarks", [1500, 60])
def test_fewer_rows_have_as_many_fewer_landmarks_and_only_rows_that_stay(n_landmarks):
    rng = np.random.default_rng(0)
    half = rng.choice([-1.0, 1.0], size=(75, 12))
    rows = np.vstack([half, -half])  # the columns' means and spreads are those of any two thirds
    y = np.where(rng.random(len(rows)) < 0.2, 0, (rows[:, 0] * rows[:, 1] > 0) + 1)
    part = np.arange(0, len(rows), 3)
    others = np.setdiff1d(np.arange(len(rows)), part)
    options = {"kernel": "gaussian", "alphas": [2.0], "balance": 0, "random_state": 0}
    clf = KernelClassifier(n_landmarks=n_landmarks, **options).fit(rows, y)
    (proba,) = clf.leave_out_proba(rows, y, [part])
    fewer = min(100, n_landmarks * 2 // 3)
    refit = KernelClassifier(n_landmarks=fewer, **options).fit(rows[others], y[others])
    np.testing.assert_allclose(proba, refit.predict_proba(rows[part]), atol=1e-6)


@pytest.mark.parametrize("alphas", [[], [0.0], [[1.0]]])
def test_strengths_must_be_positive(alphas):
    rows, y = load_wine(return_X_y=True)
    with pytest.raises(ValueError, match="alphas must be one or more positive numbers"):
        KernelClassifier(alphas=alphas).fit(rows, y)


@pytest.mark.parametrize("block_rows", [4096, 50])
def test_sparse_rows_are_those_of_the_dense_matrix(monkeypatch, block_rows):
    monkeypatch.setattr(_kernel_classifier, "_BLOCK_ROWS", block_rows)
    monkeypatch.setattr(_kernel_classifier, "_KEPT_ROWS", 200)
    X, y = load_wine(return_X_y=True)
    X = np.concatenate([X * (X > np.median(X, axis=0)), np.zeros((5, X.shape[1]))])
    y = np.concatenate([y, [0, 1, 2, 0, 1]])  # of copies of a row
    weight = np.random.default_rng(0).integers(3, size=len(y))
    parts = [np.arange(0, len(y), 3), np.arange(5)]
    answers = []
    for rows in (X, sparse.csr_array(X)):
        clf = KernelClassifier().fit(rows, y, weight)
        left_out = clf.leave_out_proba(rows, y, parts, weight)
        both = [clf.predict_proba(each) for each in (X, sparse.csr_array(X))]
        answers.append([*both, *left_out])
    for dense, found in zip(*answers, strict=True):
        np.testing.assert_allclose(found, dense, rtol=1e-6)


def test_sparse_rows_are_made_dense_by_blocks(monkeypatch):
    monkeypatch.setattr(_kernel_classifier, "_BLOCK_ROWS", 64)
    monkeypatch.setattr(_kernel_classifier, "_KEPT_ROWS", 128)
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.random((1000, 5)) * (rng.random((1000, 5)) < 0.5))
    y = np.asarray(X.sum(axis=1) > 1.2)
    n_dense, to_dense = [], sparse.csr_array.toarray
    monkeypatch.setattr(
        sparse.csr_array, "toarray", lambda X: n_dense.append(X.shape[0]) or to_dense(X)
    )
    clf = KernelClassifier(n_landmarks=50, random_state=0).fit(X, y)
    assert clf.score(X, y) > 0.9
    clf.leave_out_proba(X, y, [np.arange(500)])
    assert max(n_dense) == 64


def test_sparse_rows_that_differ_stay_apart_and_equal_ones_are_one():
    rng = np.random.default_rng(0)
    # Beside nanoseconds since 1970, what tells rows apart is lost in any sum.
    rows = np.column_stack([(1_700_000_000 + rng.integers(0, 3, 60)) * 1e9, rng.normal(size=60)])
    rows = np.vstack([rows, rows[:20], np.zeros((2, 2))])
    matrix = sparse.csr_matrix(rows)
    for start, stop in zip(matrix.indptr[60:80], matrix.indptr[61:81], strict=True):
        matrix.indices[start:stop] = matrix.indices[start:stop][::-1]
        matrix.data[start:stop] = matrix.data[start:stop][::-1]
    matrix.has_sorted_indices = False
    distinct, place = distinct_rows(matrix)
    assert distinct.shape == (61, 2)
    np.testing.assert_array_equal(distinct.toarray()[place], rows)


@pytest.mark.parametrize("weigh_columns", [True, False])
def test_what_is_said_of_rows_left_out_does_not_hang_on_their_labels(weigh_columns):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 30)), np.arange(80) % 2
    parts = np.array_split(rng.permutation(80), 4)
    clf = KernelClassifier(
        kernel="gaussian", alphas=[2.0], weigh_columns=weigh_columns, random_state=0
    )
    before = clf.fit(X, y).leave_out_proba(X, y, parts)
    changed = y.copy()
    changed[parts[0]] = changed[parts[0]][::-1]
    assert (changed != y).any()
    after = clf.fit(X, changed).leave_out_proba(X, changed, parts)
    np.testing.assert_allclose(after[0], before[0], atol=1e-9)
    assert np.abs(after[1] - before[1]).max() > 1e-3


def test_labels_that_nothing_tells_are_not_told_where_columns_are_many():
    scores = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(60, 300)), np.arange(60) % 2
        parts = np.array_split(rng.permutation(60), 5)
        clf = KernelClassifier(random_state=0).fit(X, y)
        left_out = np.empty(60)
        for part, proba in zip(parts, clf.leave_out_proba(X, y, parts), strict=True):
            left_out[part] = proba[:, 1]
        scores.append(roc_auc_score(y, left_out))
    assert np.mean(scores) < 0.6  # weights of columns that had seen the labels gave 0.9


def test_strength_is_chosen_by_the_weighted_error_of_rows_left_out_in_any_blocks():
    rng = np.random.default_rng(0)
    kernel = rbf_kernel(rng.normal(size=(40, 3)))
    targets, weight = rng.normal(size=(40, 2)), rng.uniform(0.1, 3, 40)
    alphas = np.array([0.01, 1.0, 100.0])

    def solution(alpha, rows):
        some = kernel[rows].T * weight[rows]
        return np.linalg.solve(some @ kernel[rows] + alpha * kernel, some @ targets[rows])

    errors = []
    for alpha in alphas:
        left_out = [kernel[i] @ solution(alpha, np.delete(np.arange(40), i)) for i in range(40)]
        errors.append(weight @ ((targets - left_out) ** 2).sum(axis=1))
    parts = slice(0, 25), slice(25, 40)
    alpha, coef, error = choose_alpha(
        lambda: [(part, kernel[part]) for part in parts], kernel.copy(), targets, weight, alphas
    )
    best = int(np.argmin(errors))
    assert best > 0
    assert alpha == alphas[best]
    np.testing.assert_allclose(error, errors[best], rtol=1e-6)
    np.testing.assert_allclose(kernel @ coef, kernel @ solution(alpha, np.arange(40)), atol=1e-6)


def test_slopes_are_weighted_and_distances_go_by_the_columns_weights():
    rows, y = load_wine(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    mean = np.average(rows, axis=0, weights=weight)
    rows = (rows - mean) / np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))
    settings = {"kernel": "gaussian", "alphas": [2.0], "gamma": 0.05, "balance": 0, "scale": 1}

    def scores(clf, X):
        log_proba = np.log(clf.predict_proba(X))
        return log_proba - log_proba.mean(axis=1, keepdims=True)

    plain = KernelClassifier(**settings, weigh_columns=False).fit(rows, y, weight)
    step = 1e-5
    squares = [
        weight
        @ (((scores(plain, rows + along) - scores(plain, rows - along)) / step) ** 2).sum(axis=1)
        for along in step * np.eye(rows.shape[1])
    ]
    clf = KernelClassifier(**settings).fit(rows, y, weight)
    np.testing.assert_allclose(clf.relevance_, squares / np.mean(squares), rtol=1e-4)

    gram = rbf_kernel(rows * np.sqrt(clf.relevance_), gamma=0.05)
    targets = np.eye(3)[y]
    targets -= np.average(targets, axis=0, weights=weight)
    ridge = KernelRidge(alpha=2.0, kernel="precomputed").fit(gram, targets, weight)
    expected = ridge.predict(gram) + np.average(np.eye(3)[y], axis=0, weights=weight)
    np.testing.assert_allclose(
        scores(clf, rows), expected - expected.mean(axis=1, keepdims=True), atol=1e-4
    )


def test_landmarks_are_drawn_from_all_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 2))
    clf = KernelClassifier(n_landmarks=100, random_state=0).fit(rows, rows[:, 0] > 0)
    assert clf.landmarks_.shape == (100, 2)
    assert abs(clf.landmarks_[:, 0].mean()) < 0.4


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_rows_far_from_all_others_have_probabilities(kernel):
    rows, y = load_wine(return_X_y=True)
    clf = KernelClassifier(kernel=kernel).fit(rows, y)
    proba = clf.predict_proba(np.full((1, rows.shape[1]), 1e200))
    np.testing.assert_allclose(proba.sum(), 1)


def test_a_class_that_weighs_nothing_is_left_out_all_the_same():
    rows, y = load_wine(return_X_y=True)
    weight = (y < 2).astype(float)
    part = np.arange(0, len(y), 3)
    (proba,) = KernelClassifier().fit(rows, y, weight).leave_out_proba(rows, y, [part], weight)
    assert proba.shape == (len(part), 2)


def test_rows_with_and_without_zeros_written_out_are_equal():
    written = sparse.csr_matrix((np.array([1.0, 0.0, 1.0]), [0, 1, 0], [0, 2, 3]), shape=(2, 2))
    distinct, place = distinct_rows(written)
    assert distinct.shape == (1, 2)
    assert place.tolist() == [0, 0]
