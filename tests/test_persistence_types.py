"""Ordinary models need no further trust, and `save_model` says where a file would be refused."""

from __future__ import annotations

import re
import warnings
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from _quick import make_blobs, quick
from imblearn.ensemble import RUSBoostClassifier
from sklearn import model_selection
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
)
from sklearn.multiclass import OutputCodeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit

from sklearn_dsink import DSinkClassifier, NetClassifier, persistence
from sklearn_dsink.defaults import default_target
from sklearn_dsink.inputs import TabularEncoder
from sklearn_dsink.persistence import TRUSTED_TYPES, load_model, save_model

X, Y, _ = make_blobs()
GRID = {"C": [0.1, 1.0]}
MODELS = {
    "sigmoid calibration": CalibratedClassifierCV(LinearSVC()),
    "isotonic calibration": CalibratedClassifierCV(GaussianNB(), method="isotonic"),
    "boosted histograms": HistGradientBoostingClassifier(max_iter=5),
    "RUSBoost": RUSBoostClassifier(n_estimators=3, random_state=0),
    "nearest neighbours": KNeighborsClassifier(),
    "ball tree": KNeighborsClassifier(algorithm="ball_tree", p=1),
    "perceptron": MLPClassifier(max_iter=5),
    "perceptron by SGD": MLPClassifier(max_iter=5, solver="sgd"),
    "Gaussian process": GaussianProcessClassifier(RBF() + WhiteKernel()),
    "output codes": OutputCodeClassifier(GaussianNB(), random_state=0),
    "best columns": make_pipeline(SelectKBest(k=2), GaussianNB()),
    "votes": VotingClassifier([("a", GaussianNB()), ("b", CalibratedClassifierCV(LinearSVC()))]),
    "stack": StackingClassifier([("a", GaussianNB())], cv=KFold(3, shuffle=True)),
    "grid": GridSearchCV(LogisticRegression(), GRID, cv=RepeatedStratifiedKFold(n_repeats=2)),
    "grid by its score": GridSearchCV(LogisticRegression(), GRID, scoring="balanced_accuracy"),
    "two scores": GridSearchCV(
        LogisticRegression(), GRID, scoring=["f1_macro", "roc_auc_ovr"], refit="f1_macro"
    ),
    "random search": RandomizedSearchCV(LogisticRegression(), GRID, n_iter=1, random_state=0),
}
SPLITTERS = [
    *(
        name
        for name in model_selection.__all__
        if re.search(r"^(?!Base).*(Fold|Split|Out)$", name)
    ),
    "_CVIterableWrapper",
]


def checked(model, path):
    """Save without a warning, load without `trusted`, and compare the predictions."""
    loaded = load_model(save_model(model, path / "model.dsink"))
    answer = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    np.testing.assert_array_equal(getattr(loaded, answer)(X), getattr(model, answer)(X))
    return loaded


@pytest.mark.parametrize("name", MODELS)
def test_ordinary_models_need_no_further_trust(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits too short to converge
        model = MODELS[name].fit(X, Y)
    checked(model, tmp_path)


@pytest.mark.parametrize("name", SPLITTERS)
def test_every_splitter_of_scikit_learn_is_trusted(name):
    assert f"sklearn.model_selection._split.{name}" in TRUSTED_TYPES


def test_a_classifier_with_such_auxiliaries_and_splits_needs_no_further_trust(tmp_path):
    clf = DSinkClassifier(
        CalibratedClassifierCV(LinearSVC(), cv=2),
        HistGradientBoostingClassifier(max_iter=5),
        cv=KFold(3, shuffle=True, random_state=0),
        random_state=0,
    )
    loaded = checked(clf.fit(X, Y), tmp_path)
    assert repr(loaded.cv) == repr(clf.cv)


@pytest.mark.parametrize(
    "around",
    [
        lambda clf: GridSearchCV(clf, {"alpha": [0.5, 1.0]}, cv=2),
        lambda clf: CalibratedClassifierCV(FrozenEstimator(clf.fit(X, Y)), cv=2),
    ],
    ids=["search", "calibration"],
)
def test_what_is_around_a_classifier_needs_no_further_trust(tmp_path, around):
    clf = DSinkClassifier(LogisticRegression(), GaussianNB(), cv=2, random_state=0)
    checked(around(clf).fit(X, Y), tmp_path)


def test_a_target_that_stops_early_needs_no_further_trust(tmp_path):
    target = default_target(X, n_classes=3).set_params(
        max_epochs=20, train_split=ValidSplit(0.2, stratified=True, random_state=0)
    )
    target.callbacks.append(EarlyStopping("valid_loss", patience=2, load_best=True))
    clf = DSinkClassifier(LogisticRegression(), GaussianNB(), target, cv=2, random_state=0)
    loaded = checked(clf.fit(X, Y), tmp_path)
    assert loaded.target.callbacks[-1].sink is print


def test_a_net_whose_learning_rate_is_scheduled_is_saved(tmp_path):
    X, y = load_iris(return_X_y=True)
    schedule = LRScheduler("StepLR", step_size=2)
    clf = NetClassifier(max_epochs=3, callbacks=[schedule], random_state=0).fit(X, y)
    with pytest.warns(UserWarning, match="load_model will refuse it") as caught:
        path = save_model(clf, tmp_path / "net.dsink")
    trusted = re.search(r"trusted=\((.*)\)", str(caught[0].message))[1]
    loaded = load_model(path, trusted=tuple(re.findall(r"'([\w.]+)'", trusted)))
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def test_trusted_functions_are_known_and_only_compute_or_print():
    """Each name that leads to a function, not to a class, was looked at."""
    modules = (
        r"sklearn\.metrics\._(classification|ranking)|sklearn\.feature_selection\._\w+|"
        r"sklearn_dsink\.nets|skrub\._dataframe\._common|skrub\._table_vectorizer|"
        r"skrub\.selectors\._selectors"
    )
    for full_name in TRUSTED_TYPES:
        module_name, _, name = full_name.rpartition(".")
        if find_spec(module_name.partition(".")[0]) is None:
            continue
        try:
            part = getattr(import_module(module_name), name, None)
        except ImportError:  # a module of another release or another Python
            continue
        known = part in (None, print) or isinstance(part, type)
        assert known or re.fullmatch(modules, module_name)


def test_distributions_that_run_text_as_code_are_not_trusted(tmp_path):
    stats = pytest.importorskip("scipy.stats")
    search = RandomizedSearchCV(
        LogisticRegression(), {"C": stats.loguniform(0.1, 1)}, n_iter=1, cv=2, random_state=0
    ).fit(X, Y)
    with pytest.warns(UserWarning, match=r"refuse it: scipy\.stats\.\S+, scipy\.stats\.\S+\. "):
        path = save_model(search, tmp_path / "model.dsink")
    with pytest.raises(ValueError, match=r"not trusted: scipy\.stats"):
        load_model(path)


class Own(GaussianNB):
    """A type that nobody vouched for."""


def test_a_checkpoint_trusts_the_auxiliary_that_it_is_given_and_does_not_warn(
    tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        "sklearn_dsink.checkpoint.write_model",
        lambda model, path: seen.append(persistence.write_model(model, path)) or seen[-1],
    )
    quick(noise_aux=Own(), checkpoint_dir=tmp_path).fit(X, Y)  # warnings are errors
    assert [f"{__name__}.Own"] in seen


def test_a_method_of_a_part_of_the_package_is_named_and_refused_until_trusted(tmp_path):
    name = "sklearn_dsink.inputs.TabularEncoder.transform"
    model = make_pipeline(FunctionTransformer(TabularEncoder().fit(X).transform), GaussianNB())
    with pytest.warns(UserWarning, match=rf"refuse it: {name}\. "):
        path = save_model(model.fit(X, Y), tmp_path / "model.dsink")
    with pytest.raises(ValueError, match=f"not trusted: {name}"):
        load_model(path)
    loaded = load_model(path, trusted=(name,))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
