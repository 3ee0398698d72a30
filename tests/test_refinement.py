"""Second fits: what teaches a fold has not seen it, and it pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from _quick import make_blobs, quick
from cleanlab.classification import CleanLearning
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sklearn_dsink import DSinkClassifier, _parameters, evidence
from sklearn_dsink.crossfit import fit_auxiliaries
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.evidence import choose_class_marginal, gather_evidence
from sklearn_dsink.folds import deal_folds
from sklearn_dsink.imbalance import KernelClassifier
from sklearn_dsink.label_model import fit_label_model
from sklearn_dsink.refinement import can_be_refitted, refit_auxiliaries, weighted_copies

rng = np.random.default_rng(0)
TRUE = rng.integers(3, size=120)
X = rng.normal(size=(120, 4)) + 2 * np.eye(4)[TRUE]
GIVEN, _ = flip_labels(TRUE, 0.2, random_state=0)
FOLDS = deal_folds(GIVEN, 4, np.random.RandomState(0))
CLASSES = np.arange(3)


def nested_fits(y, **auxiliaries):
    return fit_auxiliaries(
        auxiliaries,
        X,
        y,
        classes=CLASSES,
        class_share=np.full(3, 1 / 3),
        folds=FOLDS,
        nested=True,
        random_state=np.random.RandomState(0),
    )


@pytest.mark.parametrize("fold", range(4))
def test_unseen_probabilities_do_not_depend_on_the_labels_of_their_fold(fold):
    _, held_out = FOLDS[fold]
    other = GIVEN.copy()
    other[held_out] = (other[held_out] + 1) % 3
    outside = np.setdiff1d(np.arange(len(X)), held_out)
    before = nested_fits(GIVEN, noise_aux=GaussianNB())["noise_aux"].unseen[fold][outside]
    after = nested_fits(other, noise_aux=GaussianNB())["noise_aux"].unseen[fold][outside]
    np.testing.assert_array_equal(before, after)


def test_nested_probabilities_are_out_of_fold():
    changed = GIVEN.copy()
    _, held_out = FOLDS[0]
    changed[held_out] = (changed[held_out] + 1) % 3
    before = nested_fits(GIVEN, noise_aux=GaussianNB())["noise_aux"].proba[held_out]
    after = nested_fits(changed, noise_aux=GaussianNB())["noise_aux"].proba[held_out]
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(before.sum(axis=1), 1, rtol=1e-6)


@given(
    st.integers(1, 30),
    st.integers(2, 6),
    st.floats(0, 1),
    st.integers(0, 2**31 - 1),
)
@settings(deadline=None)
def test_copies_weigh_as_much_as_the_rows(n_samples, n_classes, balance, seed):
    posterior = np.random.default_rng(seed).dirichlet(np.full(n_classes, 0.3), n_samples)
    rows, labels, weight = weighted_copies(posterior, balance=balance)
    np.testing.assert_allclose(weight.sum(), n_samples)
    assert set(rows) == set(range(n_samples))  # no row is lost
    assert np.all(weight > 0)
    if balance == 0:
        np.testing.assert_allclose(np.bincount(rows, weights=weight), 1)
    best = posterior.argmax(axis=1)
    assert all(np.any((rows == i) & (labels == best[i])) for i in range(n_samples))


def test_full_balance_gives_all_classes_the_same_weight():
    posterior = np.repeat(np.eye(3), [50, 10, 2], axis=0)
    _, labels, weight = weighted_copies(posterior, balance=1.0)
    np.testing.assert_allclose(np.bincount(labels, weights=weight), 62 / 3)


def test_a_row_of_weight_5_is_balanced_as_five_rows_are():
    posterior = np.repeat(np.eye(2), [50, 10], axis=0)
    times = np.repeat([1, 5], [50, 10])
    copies = weighted_copies(posterior, balance=0.5, sample_weight=times.astype(float))
    repeated = weighted_copies(np.repeat(posterior, times, axis=0), balance=0.5)
    totals = [np.bincount(labels, weights=weight) for _, labels, weight in (copies, repeated)]
    np.testing.assert_allclose(*totals)


def test_where_nothing_can_be_fitted_again_no_pairs_of_folds_are_left_out(monkeypatch):
    fits, fit = [], KNeighborsClassifier.fit
    monkeypatch.setattr(
        KNeighborsClassifier, "fit", lambda self, X, y: fits.append(len(y)) or fit(self, X, y)
    )
    clf = DSinkClassifier(KNeighborsClassifier(), KNeighborsClassifier(3), cv=4, refine=True)
    clf.fit(X, GIVEN)
    assert len(fits) == 2 * (1 + 4)


def test_given_folds_of_which_two_weigh_something_are_two():
    X, y, _ = make_blobs()
    groups = np.arange(len(y)) % 3
    folds = [(np.flatnonzero(groups != k), np.flatnonzero(groups == k)) for k in range(3)]
    clf = quick(cv=folds, refine=True).fit(X, y, sample_weight=(groups < 2).astype(float))
    assert clf.score(X, y) > 0.8


@pytest.mark.parametrize(("size", "n_experts"), [(360, 4), (359, 2)])
def test_auxiliaries_are_refitted_up_to_a_size_unless_told(monkeypatch, size, n_experts):
    monkeypatch.setattr(_parameters, "REFINE_SIZE", size)  # 120 rows of three classes
    auxiliaries = {"noise_aux": LogisticRegression(), "imb_aux": GaussianNB()}
    assert len(quick(refine="auto", **auxiliaries).fit(X, GIVEN)._experts_.estimators) == n_experts
    assert len(quick(refine=True, **auxiliaries).fit(X, GIVEN)._experts_.estimators) == 4


def test_what_predicts_keeps_no_training_rows():
    X, y, _ = make_blobs()
    kept = quick(refine=True).fit(X, y)._experts_.label_model.posterior
    assert kept.base is None or kept.base.size == 0


def test_only_what_takes_weights_and_is_not_frozen_is_fitted_again():
    frozen = FrozenEstimator(GaussianNB().fit(X, GIVEN))
    first = nested_fits(
        GIVEN, frozen=frozen, weightless=KNeighborsClassifier(), able=LogisticRegression()
    )
    model = fit_label_model([aux.proba for aux in first.values()], GIVEN)
    second = refit_auxiliaries(first, model, X, GIVEN, classes=CLASSES, folds=FOLDS)
    assert list(second) == ["able"]
    assert np.isfinite(second["able"].proba).all()


def test_second_fits_know_the_noise_rate_and_label_better():
    gains = []
    for seed in range(3):
        digits, y = load_digits(return_X_y=True)
        digits = digits / 16
        digits, y = make_long_tailed(digits, y, 10, random_state=seed)
        y_given, _ = flip_labels(y, 0.4, random_state=seed)
        posterior = {}
        for refine in (False, True):
            found = gather_evidence(
                {
                    "noise_aux": GaussianNB(var_smoothing=0.05),
                    "imb_aux": LogisticRegression(C=0.1, max_iter=1000),
                },
                digits,
                y_given,
                classes=np.arange(10),
                folds=deal_folds(y_given, 5, np.random.RandomState(seed)),
                refine=refine,
                sample_weight=None,
                fit_params=None,
                random_state=np.random.RandomState(seed),
            )
            model = found.label_model
            posterior[refine] = balanced_accuracy_score(y, model.posterior.argmax(axis=1))
        wrong = 1 - model.class_share @ np.diag(model.noise_matrix)
        assert abs(wrong - 0.4) < 0.06  # leaking fits would think of the labels as less noisy
        gains.append(posterior[True] - posterior[False])
    assert np.mean(gains) > 0


def test_a_class_of_n_rows_weighs_n_to_the_power_of_one_less_balance():
    posterior = np.repeat(np.eye(2), [64, 16], axis=0)
    _, labels, weight = weighted_copies(posterior, balance=0.5)
    totals = np.bincount(labels, weights=weight)
    np.testing.assert_allclose(totals[0] / totals[1], 2)


def test_a_tenth_of_a_row_is_not_balanced_to_a_whole_class():
    posterior = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]])
    _, labels, weight = weighted_copies(posterior, balance=1.0)
    totals = np.bincount(labels, weights=weight)
    np.testing.assert_allclose(totals[1] / totals[0], 0.1)


class Taught(GaussianNB):
    """Remembers what it was taught, and counts the fits of its class."""

    n_fits = 0

    def fit(self, X, y, sample_weight=None, number=None):
        type(self).n_fits += 1
        self.lesson_ = X, y, sample_weight, number
        return super().fit(X, y, sample_weight)


def test_second_fits_are_taught_weighted_copies_of_the_rows_that_weigh():
    weight = np.arange(len(X)) % 3 / 1.0
    first = fit_auxiliaries(
        {"able": Taught()},
        X,
        GIVEN,
        classes=CLASSES,
        class_share=np.full(3, 1 / 3),
        folds=FOLDS,
        nested=True,
        sample_weight=weight,
        fit_params={"able": {"sample_weight": weight, "number": np.arange(len(X))}},
        random_state=np.random.RandomState(0),
    )
    model = fit_label_model([first["able"].proba], GIVEN, sample_weight=weight)
    second = refit_auxiliaries(
        first, model, X, GIVEN, classes=CLASSES, folds=FOLDS, sample_weight=weight
    )["able"]
    heavy = np.flatnonzero(weight)
    copies, labels, copy_weight = weighted_copies(
        model.posterior[heavy], balance=0.5, sample_weight=weight[heavy]
    )
    rows = heavy[copies]
    for found, expected in zip(
        second.estimator.lesson_, (X[rows], labels, copy_weight, rows), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert second.proba.shape == (len(X), 3)


@pytest.mark.parametrize("fold", range(4))
def test_what_second_fits_say_of_a_fold_does_not_hang_on_its_labels(fold):
    _, held_out = FOLDS[fold]
    other = GIVEN.copy()
    other[held_out] = (other[held_out] + 1) % 3
    model = fit_label_model([nested_fits(GIVEN, able=GaussianNB())["able"].proba], GIVEN)
    answers = []
    for y in (GIVEN, other):
        first = nested_fits(y, able=GaussianNB())
        same = replace(model, posterior=model.label([first["able"].proba], y))
        second = refit_auxiliaries(first, same, X, y, classes=CLASSES, folds=FOLDS)
        answers.append(second["able"].proba)
    np.testing.assert_array_equal(answers[1][held_out], answers[0][held_out])
    assert not np.array_equal(*answers)


def test_a_class_that_a_second_fit_was_not_taught_gets_the_label_models_share():
    far, y = np.vstack([X, X[:6] + 100]), np.append(TRUE, np.full(6, 3))
    lone = np.arange(120, 126)
    folds = [(np.delete(np.arange(126), np.r_[test, lone]), test) for _, test in FOLDS]
    folds[0] = np.arange(126)[np.isin(np.arange(126), folds[0][0])], np.r_[folds[0][1], lone]
    classes, share = np.arange(4), np.full(4, 0.25)
    first = fit_auxiliaries(
        {"able": GaussianNB()},
        far,
        y,
        classes=classes,
        class_share=share,
        folds=folds,
        random_state=np.random.RandomState(0),
    )
    sure = np.eye(4)[y]
    model = replace(fit_label_model([first["able"].proba], y), posterior=sure)
    second = refit_auxiliaries(first, model, far, y, classes=classes, folds=folds)["able"]
    np.testing.assert_allclose(second.proba[:, 3], model.class_share[3], rtol=1e-6)


def test_what_looks_for_wrong_labels_itself_gets_no_copies_of_rows():
    assert can_be_refitted(LogisticRegression())
    assert not can_be_refitted(CleanLearning(LogisticRegression()))


def gather(n_folds=4, *, refine=True, weight=None, rows=slice(None), folds=None, y=GIVEN):
    if folds is None:
        folds = deal_folds(y, n_folds, np.random.RandomState(0))
    return gather_evidence(
        {"noise_aux": Taught(), "imb_aux": LogisticRegression()},
        X[rows],
        y,
        classes=np.arange(y.max() + 1),
        folds=folds,
        refine=refine,
        sample_weight=weight,
        fit_params=None,
        random_state=np.random.RandomState(0),
    )


@pytest.mark.parametrize("refine", [False, True])
def test_experts_answer_for_equal_classes_without_their_biases(refine):
    experts = gather(refine=refine).experts
    probas = [model.predict_proba(X) for model in experts.estimators.values()]
    model = experts.label_model
    expected = model.log_proba(probas) + model.offset - np.log(model.class_share)
    np.testing.assert_allclose(experts.log_proba(X), expected)


@pytest.mark.parametrize("refine", [False, True])
def test_the_power_is_that_of_the_last_label_model_alone(monkeypatch, refine):
    less = gather(refine=refine).label_model
    monkeypatch.setattr(evidence, "_POWER", 1.0)
    full = gather(refine=refine).label_model
    np.testing.assert_allclose(less.exponents, 0.7 * full.exponents)
    np.testing.assert_array_equal(less.noise_matrix, full.noise_matrix)


@pytest.mark.parametrize("n_folds, n_fits", [(2, 1 + 2 + 1 + 2), (4, 1 + 6 + 1 + 4), (12, 38)])
def test_fits_of_pairs_of_folds_are_those_of_eight_folds_at_most(monkeypatch, n_folds, n_fits):
    monkeypatch.setattr(Taught, "n_fits", 0)
    gather(n_folds)
    assert Taught.n_fits == n_fits


def test_evidence_of_rows_that_weigh_is_that_of_these_rows_alone():
    kept = np.arange(len(X)) % 4 > 0
    place = np.cumsum(kept) - 1
    folds = deal_folds(GIVEN, 4, np.random.RandomState(0))
    ours = [tuple(place[part[kept[part]]] for part in fold) for fold in folds]
    whole = gather(weight=kept / kept.mean(), folds=folds)
    alone = gather(rows=kept, y=GIVEN[kept], folds=ours)
    for name in ("exponents", "noise_matrix", "class_share", "offset"):
        found, expected = (getattr(each.label_model, name) for each in (whole, alone))
        np.testing.assert_allclose(found, expected, atol=5e-3, err_msg=name)
    assert all(auxiliary.unseen is None for auxiliary in whole.auxiliaries.values())


def test_a_fold_in_which_one_row_weighs_is_a_fold():
    weight = np.zeros(len(X))
    assert evidence._n_heavy(FOLDS, weight) == 0
    weight[[test[0] for _, test in FOLDS[:3]]] = 1.0
    assert evidence._n_heavy(FOLDS, weight) == 3


def test_a_class_of_one_fold_has_its_share_of_the_weight_there():
    lone, y = np.arange(6), GIVEN.copy()
    y[lone] = 3
    parts = np.array_split(np.arange(len(X)), 4)
    folds = [(np.setdiff1d(np.arange(len(X)), part), part) for part in parts]
    weight = np.where(y == 3, 4.0, 1.0)
    found = gather(weight=weight / weight.mean(), folds=folds, y=y, refine=False)
    share = weight[lone].sum() / weight.sum()
    np.testing.assert_allclose(found.auxiliaries["noise_aux"].proba[parts[0], 3], share, rtol=1e-6)


def test_class_shares_asked_for_are_weighted_means_and_none_is_left_out():
    weight = 1.0 + TRUE
    found = gather(refine=False, weight=weight / weight.mean())
    for name, auxiliary in found.auxiliaries.items():
        mean = np.average(auxiliary.proba, axis=0, weights=weight)
        np.testing.assert_allclose(choose_class_marginal(name, found, weight), mean, rtol=1e-5)
    least = choose_class_marginal([1, 1, 0], found, None)
    np.testing.assert_allclose(least, [*2 * [0.5 - 0.25 / 120], 0.5 / 120])


@pytest.mark.parametrize("estimator", [KNeighborsClassifier(), KernelClassifier()], ids=str)
def test_rows_that_weigh_nothing_or_that_a_fold_leaves_out_do_not_teach(estimator):
    part = np.arange(len(X)) % 3
    gap = [(np.flatnonzero(part == (k + 1) % 3), np.flatnonzero(part == k)) for k in range(3)]
    weight = (np.arange(len(X)) % 4 > 0).astype(float)

    def fit(y, folds, weight):
        fitted = fit_auxiliaries(
            {"able": estimator},
            X,
            y,
            classes=CLASSES,
            class_share=np.full(3, 1 / 3),
            folds=folds,
            sample_weight=weight,
            fit_params={"able": {}},
            random_state=np.random.RandomState(0),
        )
        return fitted["able"].proba

    moved = np.where(weight == 0, (GIVEN + 1) % 3, GIVEN)
    np.testing.assert_allclose(fit(moved, FOLDS, weight), fit(GIVEN, FOLDS, weight), atol=1e-6)
    # Of part 0 part 1 alone is asked, of which part 2 is left out.
    moved = np.where(part == 2, (GIVEN + 1) % 3, GIVEN)
    asked = part == 0
    np.testing.assert_allclose(fit(moved, gap, None)[asked], fit(GIVEN, gap, None)[asked])


def test_of_fits_without_two_folds_a_row_has_the_mean_of_those_without_its_own():
    fitted = nested_fits(GIVEN, able=GaussianNB())["able"]
    for k, (_, held_out) in enumerate(FOLDS):
        said = [
            GaussianNB().fit(X[kept], GIVEN[kept]).predict_proba(X[held_out])
            for j, (_, other) in enumerate(FOLDS)
            if j != k
            for kept in [np.setdiff1d(np.arange(len(X)), np.r_[held_out, other])]
        ]
        np.testing.assert_allclose(fitted.proba[held_out], np.mean(said, axis=0), atol=1e-6)


def test_what_a_frozen_estimator_says_without_a_fold_is_what_it_says():
    fitted = nested_fits(GIVEN, frozen=FrozenEstimator(GaussianNB().fit(X, TRUE)))["frozen"]
    assert fitted.unseen.shape == (4, 120, 3)
    for said in fitted.unseen:
        np.testing.assert_array_equal(said, fitted.proba)
