"""The classifier among its neighbours: scikit-learn, skorch, imbalanced-learn, cleanlab, ..."""

from __future__ import annotations

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from _quick import make_blobs, needs_polars_names, quick, tiny_net
from catboost import CatBoostClassifier
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from imblearn.ensemble import (
    BalancedBaggingClassifier,
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import Pipeline as SamplingPipeline
from lightgbm import LGBMClassifier
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier, StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    GradientNormClipping,
    LRScheduler,
    ProgressBar,
)
from skorch.dataset import ValidSplit
from torch import nn
from xgboost import XGBClassifier

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.inputs import TabularEncoder

NAMES = ["ant", "bee", "cow"]
X, Y, TRUE = make_blobs(flip=0.1, names=NAMES)
FRAME = pd.DataFrame(X, columns=list("abcd"))


def check_rows(proba, n_rows=None, n_classes=3):
    assert proba.shape == (n_rows or len(X), n_classes)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)


def test_grid_search_over_a_pipeline_then_pickled(tmp_path):
    pipe = Pipeline([("scale", StandardScaler()), ("clf", quick())])
    grid = {"clf__alpha": [0.5, 4.0], "clf__noise_aux__C": [0.1, 1.0]}
    grid["clf__target__lr"] = [0.02]
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=2).fit(FRAME, Y)
    assert len(search.cv_results_["mean_test_score"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    expected = search.predict_proba(FRAME)
    assert set(search.predict(FRAME)) <= set(NAMES)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(search)).predict_proba(FRAME), expected
    )
    joblib.dump(search.best_estimator_, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(FRAME), expected)


def test_parallel_auxiliaries_answer_as_serial_ones():
    serial = quick(cv=3).fit(X, Y).predict_proba(X)
    parallel = quick(cv=3, n_jobs=2).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(parallel, serial, rtol=1e-5)


@pytest.mark.parametrize("mapped", [False, True])
def test_workers_that_map_large_rows_from_a_file_give_their_answers(mapped, tmp_path):
    """joblib hands on more than a megabyte in a file, and rows of the user's may lie in one."""
    rows = np.random.default_rng(0).normal(size=(len(X), 1_100_000 // (8 * len(X))))
    rows[:, :4] = X
    alone = quick(rows.shape[1], cv=3).fit(rows, Y).predict_proba(rows)
    if mapped:
        np.save(tmp_path / "rows.npy", rows)
        rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    clf = quick(rows.shape[1], cv=3, n_jobs=2).fit(rows, Y)
    np.testing.assert_allclose(clf.predict_proba(rows), alone, rtol=1e-4, atol=1e-6)
    (elsewhere,) = joblib.Parallel(2)([joblib.delayed(clone(clf).fit)(rows, Y)])
    np.testing.assert_allclose(elsewhere.predict_proba(rows), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "search",
    [
        lambda clf: RandomizedSearchCV(clf, {"alpha": [1, 2, 3]}, n_iter=2, cv=2, random_state=0),
        lambda clf: CalibratedClassifierCV(clf, cv=2),
        lambda clf: StackingClassifier([("dsink", clf), ("nb", GaussianNB())], cv=2),
        lambda clf: BaggingClassifier(clf, n_estimators=2, random_state=0),
        lambda clf: OneVsRestClassifier(clone(clf).set_params(target=tiny_net(4, 2))),
        lambda clf: make_pipeline(make_column_transformer((StandardScaler(), [0, 1, 2, 3])), clf),
    ],
    ids=["randomized", "calibrated", "stacking", "bagging", "one-vs-rest", "columns"],
)
def test_meta_estimators(search):
    model = search(quick()).fit(X, Y)
    check_rows(model.predict_proba(X))
    assert model.score(X, TRUE) > 0.6


def test_tuned_threshold_on_two_classes():
    y = np.where(Y == "ant", "ant", "other")
    clf = quick(4, 2)
    model = TunedThresholdClassifierCV(clf, cv=2).fit(X, y)
    assert set(model.predict(X)) <= {"ant", "other"}


def test_inspection_and_validation_tools():
    scores = cross_validate(quick(), X, Y, cv=2, scoring=["accuracy", "neg_log_loss"])
    assert np.isfinite(scores["test_neg_log_loss"]).all()
    importance = permutation_importance(quick().fit(X, Y), X, Y, n_repeats=2, random_state=0)
    assert importance.importances_mean.max() > 0
    _, _, test = learning_curve(quick(), X, Y, train_sizes=[0.7, 1.0], cv=2, shuffle=True)
    assert np.isfinite(test).all()


def test_frozen_classifier_in_a_pipeline():
    clf = quick().fit(X, Y)
    frozen = FrozenEstimator(clf).fit(X[:2], Y[:2])
    np.testing.assert_array_equal(frozen.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("name", ["noise_aux", "imb_aux"])
@pytest.mark.parametrize("cv", [2, None])
def test_skorch_net_as_auxiliary(name, cv):
    clf = quick(**{name: tiny_net(), "cv": cv}).fit(FRAME, Y)
    check_rows(clf.predict_proba(FRAME))
    np.testing.assert_array_equal(getattr(clf, f"{name}_").classes_, NAMES)
    inside = make_pipeline(StandardScaler(), tiny_net())
    clf = quick(**{name: inside, "cv": cv}).fit(FRAME, Y)
    check_rows(clf.predict_proba(FRAME))
    check_rows(pickle.loads(pickle.dumps(clf)).predict_proba(FRAME))


@pytest.mark.parametrize(
    "net",
    [
        tiny_net(),
        tiny_net(module__softmax=True, criterion=nn.NLLLoss),
    ],
    ids=["logits", "softmax"],
)
@pytest.mark.parametrize("prior_correction", [True, False])
def test_target_with_logits_and_with_softmax_outputs(net, prior_correction):
    net.set_params(max_epochs=30)
    clf = quick(target=net, combine=False, prior_correction=prior_correction).fit(X, Y)
    check_rows(clf.predict_proba(X))
    assert clf.score(X, TRUE) > 0.8
    losses = [epoch["train_loss"] for epoch in clf.history_]
    assert losses[-1] < losses[0]


def test_target_keeps_what_is_its_own(tmp_path):
    net = tiny_net(
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=0.5,
        callbacks=[
            ("schedule", LRScheduler("StepLR", step_size=1, gamma=0.5)),
            ("clip", GradientNormClipping(1.0)),
            ("bar", ProgressBar()),
            ("save", Checkpoint(monitor="train_loss_best", dirname=str(tmp_path))),
        ],
        max_epochs=4,
    )
    clf = quick(target=net).fit(X, Y)
    assert isinstance(clf.target_.optimizer_, torch.optim.AdamW)
    assert clf.target_.optimizer_.param_groups[0]["weight_decay"] == 0.5
    assert clf.target_.optimizer_.param_groups[0]["lr"] < 0.02
    assert len(clf.history_) == 4
    assert (tmp_path / "params.pt").exists()
    assert not hasattr(net, "module_")


def test_callbacks_of_a_net_as_auxiliary(tmp_path):
    stop = EarlyStopping(patience=1, threshold=10.0, sink=str)
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    save = Checkpoint(monitor="train_loss_best", dirname=str(tmp_path))
    callbacks = [schedule, stop, save, GradientNormClipping(1.0), ProgressBar()]
    clf = quick(noise_aux=tiny_net(max_epochs=9, callbacks=callbacks)).fit(X, Y)
    assert len(clf.noise_aux_.estimator_.history) < 9
    assert (tmp_path / "params.pt").exists()
    check_rows(clf.predict_proba(X))


def test_early_stopping_watches_a_part_held_out():
    net = tiny_net(max_epochs=50, callbacks=[("stop", EarlyStopping(patience=2, threshold=10.0))])
    clf = quick(target=net).fit(X, Y)
    assert len(clf.history_) < 50
    assert "valid_loss" in clf.history_[-1]
    check_rows(clf.predict_proba(X))


def test_a_split_of_the_targets_own_is_kept_and_the_default_is_not():
    own = tiny_net(train_split=ValidSplit(3))
    assert "valid_loss" in quick(target=own).fit(X, Y).history_[-1]
    assert "valid_loss" not in quick().fit(X, Y).history_[-1]


@pytest.mark.parametrize(
    "ensemble",
    [
        BalancedRandomForestClassifier(10),
        BalancedBaggingClassifier(n_estimators=3),
        EasyEnsembleClassifier(2, estimator=DecisionTreeClassifier(max_depth=2)),
        RUSBoostClassifier(n_estimators=3),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_ensembles_of_imbalanced_learn(ensemble):
    check_rows(quick(imb_aux=ensemble).fit(X, Y).predict_proba(X))


def test_samplers_of_imbalanced_learn():
    sampler = SamplingPipeline([("sample", RandomOverSampler(random_state=0)), ("clf", quick())])
    model = sampler.fit(X, Y)
    check_rows(model.predict_proba(X))
    assert len(model["clf"].surrogate_labels_) > len(X)
    inside = SamplingPipeline(
        [("sample", RandomOverSampler(random_state=0)), ("nb", GaussianNB())]
    )
    check_rows(quick(imb_aux=inside).fit(X, Y).predict_proba(X))


def test_cleanlab_with_string_labels():
    X, y, _ = make_blobs((60, 50, 40), flip=0.1, names=NAMES)
    noise_aux = CleanLearning(
        LogisticRegression(), cv_n_folds=2, find_label_issues_kwargs={"n_jobs": 1}
    )
    clf = quick(noise_aux=noise_aux).fit(X, y)
    np.testing.assert_array_equal(clf.classes_, NAMES)
    check_rows(clf.predict_proba(X), n_rows=len(X))


@pytest.mark.parametrize(
    "boosted",
    [
        LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1, n_jobs=1),
        XGBClassifier(n_estimators=5, n_jobs=1),
        make_pipeline(StandardScaler(), XGBClassifier(n_estimators=5, n_jobs=1)),
        CatBoostClassifier(5, verbose=False, allow_writing_files=False, thread_count=1),
    ],
    ids=["lightgbm", "xgboost", "xgboost in a pipeline", "catboost"],
)
def test_boosted_trees(boosted):
    clf = quick(noise_aux=boosted).fit(FRAME, Y, sample_weight=1.0 + (Y == "cow"))
    np.testing.assert_array_equal(clf.noise_aux_.classes_, NAMES)
    check_rows(clf.predict_proba(FRAME))
    assert clf.score(FRAME, TRUE) > 0.8
    two = quick(4, 2, imb_aux=boosted).fit(FRAME, Y == "cow")
    check_rows(two.predict_proba(FRAME), n_classes=2)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix])
def test_sparse_features(container):
    shifted = X - X.min(axis=0)
    linear = {"imb_aux": LogisticRegression(class_weight="balanced")}
    dense = quick(**linear).fit(shifted, Y).predict_proba(shifted)
    wrapped = container(shifted)
    answer = quick(**linear).fit(wrapped, Y).predict_proba(wrapped)
    np.testing.assert_allclose(answer, dense, atol=1e-3)


def mixed_table():
    rng = np.random.default_rng(0)
    table = {
        "size": X[:, 0],
        "gaps": np.where(rng.random(len(X)) < 0.2, np.nan, X[:, 1]),
        "kind": np.where(X[:, 2] > 0, "large", "small").astype(object),
        "flag": X[:, 3] > 0,
    }
    table["kind"][5] = None
    return table


@pytest.mark.parametrize("library", ["pandas", pytest.param("polars", marks=needs_polars_names)])
def test_frames_with_categories_and_missing_values(library, short_default_target):
    if library == "pandas":
        frame = pd.DataFrame(mixed_table()).astype({"kind": "category"})
    else:
        frame = pl.DataFrame(mixed_table(), strict=False).with_columns(
            pl.col("kind").cast(pl.Categorical)
        )
    auxiliary = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype")
    clf = DSinkClassifier(auxiliary, clone(auxiliary), cv=2, random_state=0)
    clf.fit(frame, Y)
    check_rows(clf.predict_proba(frame))
    np.testing.assert_array_equal(clf.feature_names_in_, list(mixed_table()))


def test_default_auxiliaries_on_a_mixed_frame(short_default_target):
    frame = pd.DataFrame(mixed_table())
    clf = DSinkClassifier(cv=2, random_state=0).fit(frame, Y)
    check_rows(clf.predict_proba(frame))
    # Rows that come later may hold what the training rows did not.
    later = frame.assign(kind="unheard of", size=np.nan).head(7)
    check_rows(clf.predict_proba(later), n_rows=7)


def test_auxiliaries_see_the_frame_as_it_is():
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]), ("passthrough", ["size"])
    )
    frame = pd.DataFrame(mixed_table())[["kind", "size"]]
    clf = DSinkClassifier(
        make_pipeline(encode, LogisticRegression()),
        make_pipeline(encode, LogisticRegression(class_weight="balanced")),
        cv=2,
        target=tiny_net(4, 3),
        random_state=0,
    )
    n_inputs = TabularEncoder().fit(frame).n_features_out_
    clf.set_params(target__module__n_features=n_inputs).fit(frame, Y)
    check_rows(clf.predict_proba(frame))


def test_plain_array_after_a_frame_warns_as_scikit_learn_does():
    clf = quick().fit(FRAME, Y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        proba = clf.predict_proba(X)
    np.testing.assert_allclose(proba, clf.predict_proba(FRAME), rtol=1e-6)


@pytest.mark.parametrize(
    "cv",
    [
        StratifiedKFold(3, shuffle=True, random_state=0),
        GroupKFold(3),
        list(StratifiedKFold(2).split(X, Y)),
        [(train.tolist(), test.tolist()) for train, test in StratifiedKFold(3).split(X, Y)],
    ],
    ids=["splitter", "groups", "iterable", "lists"],
)
def test_splitters(cv):
    if isinstance(cv, GroupKFold):
        groups = np.arange(len(X)) % 6
        cv = list(cv.split(X, Y, groups))
    check_rows(quick(cv=cv).fit(X, Y).predict_proba(X))


def test_classes_with_fewer_rows_than_folds():
    X, y, _ = make_blobs((40, 20, 2, 1), flip=0.0)
    clf = quick(4, 4, cv=5).fit(X, y)
    np.testing.assert_array_equal(clf.classes_, range(4))
    assert np.isfinite(clf.noise_aux_proba_).all()
    np.testing.assert_allclose(clf.noise_aux_proba_.sum(axis=1), 1, rtol=1e-6)
    check_rows(clf.predict_proba(X), n_rows=len(X), n_classes=4)


def test_two_classes_one_of_a_single_row():
    X, y, _ = make_blobs((20, 1))
    check_rows(quick(4, 2, cv=5).fit(X, y).predict_proba(X), n_rows=21, n_classes=2)


def test_rows_that_a_splitter_keeps_from_teaching_do_not_teach():
    class Rows(GaussianNB):
        taught: list = []

        def fit(self, X, y, sample_weight=None):
            Rows.taught.append({tuple(row) for row in X})
            return super().fit(X, y, sample_weight)

    stratified = StratifiedKFold(3).split(X, Y)
    splits = [(train[train % 5 > 0], test) for train, test in stratified]
    quick(noise_aux=Rows(), imb_aux=GaussianNB(), cv=splits, refine=True).fit(X, Y)
    kept_back = {tuple(row) for row in X[::5]}
    in_folds = [rows for rows in Rows.taught if len(rows) < len(X)]
    assert len(in_folds) == 6  # three pairs of folds, then three folds
    assert not any(rows & kept_back for rows in in_folds)


def test_refits_reach_through_the_wrapper_of_label_codes_but_not_into_cleanlab():
    trees = XGBClassifier(n_estimators=3)
    cleaned = CleanLearning(
        LogisticRegression(), cv_n_folds=2, find_label_issues_kwargs={"min_examples_per_class": 0}
    )
    clf = quick(noise_aux=trees, imb_aux=cleaned, cv=3, refine=True).fit(X, Y)
    assert list(clf._experts_.estimators) == ["noise_aux", "imb_aux", "noise_aux refitted"]
    check_rows(clf.predict_proba(X))


def test_warnings_of_an_auxiliary_reach_the_user():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quick(noise_aux=LogisticRegression(max_iter=1)).fit(X, Y)
    assert any("lbfgs failed to converge" in str(warning.message) for warning in caught)


def test_cleanlab_reads_the_out_of_fold_probabilities():
    X, y, true = make_blobs((60, 50, 40), flip=0.1)
    clf = quick().fit(X, y)
    issues = find_label_issues(y, clf.noise_aux_proba_, n_jobs=1)
    assert (y != true)[issues].mean() > 0.5


def test_halving_search():
    search = HalvingGridSearchCV(quick(), {"alpha": [1.0, 4.0]}, cv=2, random_state=0)
    check_rows(search.fit(X, Y).predict_proba(X))
