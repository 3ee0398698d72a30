"""What cannot be used is refused at once: the message names it, what was found and what to do."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from _quick import make_blobs, quick, tiny_net
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_dsink import DSinkClassifier, NetClassifier
from sklearn_dsink.auxiliaries import IntegerLabelClassifier
from sklearn_dsink.datasets import flip_labels
from sklearn_dsink.imbalance import KernelClassifier, PriorCorrectedClassifier
from sklearn_dsink.inspection import find_label_issues
from sklearn_dsink.losses import ClassBalanced, LogitAdjusted

X, Y, _ = make_blobs()


class Oracle(ClassifierMixin, BaseEstimator):
    """Answers with whatever `answer` makes of uniform rows."""

    def __init__(self, answer=None):
        self.answer = answer

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return self.answer(np.full((len(X), len(self.classes_)), 1 / len(self.classes_)))


def with_value(value):
    def answer(proba):
        proba[2, 1] = value
        return proba

    return answer


class BreaksInFold(ClassifierMixin, BaseEstimator):
    """Cannot be fitted on fewer rows than all of them."""

    def fit(self, X, y):
        if len(X) < len(Y):
            raise RuntimeError("the disk is full")
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


@pytest.mark.parametrize(
    "y, message",
    [
        (np.zeros(len(Y)), r"y has one class only, \[0\.0\]: a classifier needs two or more"),
        (np.where(np.arange(len(Y)) == 3, np.nan, Y), r"y contains NaN: 1 of 102.*row 3.*Drop"),
        (np.where(np.arange(len(Y)) == 3, np.inf, Y), r"y contains infinity.*row 3.*Drop"),
        (pd.Series(Y, dtype="Int64").where(Y < 2), r"y contains NaN: 12 of 102.*Drop"),
        (np.where(Y == 0, None, "a"), r"y contains NaN: 60 of 102.*Drop"),
        (X[:, 0], "Unknown label type: continuous"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.stack([Y, Y], axis=1), "y should be a 1d array"),
        (None, "requires y to be passed"),
    ],
)
def test_labels(y, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(X, y)


@pytest.mark.parametrize("n_rows, message", [(0, "0 sample"), (1, "1 sample.*two rows or more")])
@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame])
def test_too_few_rows(n_rows, message, container):
    with pytest.raises(ValueError, match=message):
        quick().fit(container(X[:n_rows]), Y[:n_rows])


def test_infinite_features():
    bad = X.copy()
    bad[7, 2] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        quick().fit(bad, Y)
    frame = pd.DataFrame(bad, columns=list("abcd"))
    with pytest.raises(ValueError, match=r"infinity in column 'c' \(first in row 7\).*Replace"):
        quick().fit(frame, Y)


def test_missing_features_where_an_auxiliary_takes_none():
    bad = X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"noise_aux=LogisticRegression.*contains NaN"):
        quick().fit(bad, Y)


def test_features_at_predict_are_those_of_fit():
    clf = quick().fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but DSinkClassifier is expecting 4"):
        clf.predict(X[:, :3])
    frame = pd.DataFrame(X, columns=list("abcd"))
    clf = quick().fit(frame, Y)
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(frame[list("bacd")])


@pytest.mark.parametrize(
    "params, message",
    [
        ({"alpha": -1.0}, r"'alpha' parameter .* float in the range \[0\.0, inf\). Got -1\.0"),
        ({"alpha": np.nan}, r"'alpha' parameter .* Got nan"),
        ({"alpha": 0, "base_loss": None}, "alpha=0 with base_loss=None.*nothing to learn"),
        ({"base_loss": LogitAdjusted()}, "corrects for the class shares, and so does prior_corr"),
        ({"cv": 1}, r"'cv' parameter .* int in the range \[2, inf\).* None. Got 1"),
        ({"cv": ShuffleSplit(3, random_state=0)}, "cv=ShuffleSplit.*exactly one test part.*Use"),
        ({"cv": [([0], [-1])]}, "cv: a split must hold numbers of rows, 0 to .*found .-1"),
        ({"cv": [([0.0], [1])]}, "cv: a split must hold numbers of rows"),
        ({"cv": [([10**6], [1])]}, "cv: a split must hold numbers of rows.*1000000"),
        ({"class_prior": ["a", "b", "c"]}, "class_prior must hold numbers: could not convert"),
        ({"class_prior": "flat"}, "'class_prior' parameter .* str among .* Got 'flat'"),
        ({"class_prior": [0.5, 0.5]}, r"class_prior has shape \(2,\), expected \(3,\)"),
        ({"class_prior": [0.5, 0.5, 0.0]}, "class_prior must hold positive.*0.0.*small share"),
        ({"class_prior": [1, 2, np.nan]}, "class_prior must hold positive finite numbers"),
        ({"class_prior": [1, 2, -3]}, "class_prior must hold positive finite numbers"),
        ({"class_prior": {"cow": 1.0}}, "class_prior must have one number for each class: it has"),
        ({"class_marginal": [0.5, 0.5]}, r"class_marginal has shape \(2,\), expected \(3,\)"),
        ({"class_marginal": [1, 1, -1]}, "class_marginal must be .*>= 0.*found"),
        ({"target": LogisticRegression()}, "'target' parameter .*NeuralNetClassifier.* Got Log"),
        ({"target": NetClassifier()}, "'target' parameter .*NeuralNetClassifier.* Got NetC"),
        ({"target": tiny_net}, "'target' parameter .*NeuralNetClassifier.* Got <function"),
        ({"base_loss": nn.CrossEntropyLoss()}, r"base_loss.*one loss a row.*reduction='none'"),
        ({"base_loss": nn.CrossEntropyLoss}, "'base_loss' parameter .*Module.* Got <class"),
        ({"solver": "simplex"}, "'solver' parameter .* Got 'simplex'"),
        ({"relaxation": -1}, "'relaxation' parameter .* Got -1"),
        ({"tol": 0.0}, "'tol' parameter .* Got 0.0"),
        ({"warmup": -1}, "'warmup' parameter .* Got -1"),
        ({"renew_every": 0}, "'renew_every' parameter .* Got 0"),
    ],
)
def test_parameters(params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        quick(**params).fit(X, Y)


class Named(GaussianNB):
    """Says its own name, and fails."""

    def __repr__(self):
        return "Named(" + "x" * 5000 + ")"

    def fit(self, X, y, sample_weight=None):
        raise RuntimeError("boom")


class OfClasses(GaussianNB):
    """Claims to know other classes."""

    def __init__(self, classes=None):
        super().__init__()
        self.classes = classes

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y)
        self.classes_ = np.array(self.classes)
        return self


@pytest.mark.parametrize("name", ["noise_aux", "imb_aux"])
@pytest.mark.parametrize("cv", [2, None])
@pytest.mark.parametrize(
    "auxiliary, error, message",
    [
        (Perceptron(), TypeError, "has no predict_proba.*CalibratedClassifierCV"),
        (GaussianNB, TypeError, "is a class; give an instance"),
        ("forest", TypeError, "'forest' has no fit: give a classifier"),
        (Oracle(with_value(np.nan)), ValueError, "1 of .* rows are NaN or infinite.*row 2"),
        (Oracle(with_value(np.inf)), ValueError, "1 of .* rows are NaN or infinite.*row 2"),
        (Oracle(with_value(-0.1)), ValueError, "1 of .* rows are negative.*row 2"),
        (Oracle(with_value(2.0)), ValueError, "1 of .* rows do not sum to 1.*row 2"),
        (Named(), ValueError, r"=Named\(x{100,200} \.\.\. failed when fitted on .*boom"),
        (
            OfClasses([0, 1, 1]),
            ValueError,
            "classes_ must be labels in one row, each once",
        ),
        (OfClasses([[0, 1, 2]]), ValueError, "classes_ must be labels in one row"),
        (Oracle(lambda proba: proba[:-1]), ValueError, r"returned shape \(\d+, 3\), expected"),
        (Oracle(lambda proba: proba[:, :2]), ValueError, r"returned shape .*classes it was"),
        (FrozenEstimator(GaussianNB()), ValueError, "is not fitted. Fit the classifier before"),
    ],
)
def test_auxiliaries(name, cv, auxiliary, error, message):
    with pytest.raises(error, match=rf"{name}.*{message}"):
        quick(cv=cv, **{name: auxiliary}).fit(X, Y)


def test_auxiliary_that_raises_in_a_fold():
    message = r"noise_aux=BreaksInFold\(\).*fold . of 2.*RuntimeError: the disk is full"
    with pytest.raises(ValueError, match=message) as caught:
        quick(noise_aux=BreaksInFold()).fit(X, Y)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_class_shares_are_looked_at_before_anything_is_fitted():
    with pytest.raises(ValueError, match="class_marginal"):
        quick(noise_aux=BreaksInFold(), class_marginal=[1, 1, -1]).fit(X, Y)


def test_frozen_auxiliary_of_other_classes():
    stranger = GaussianNB().fit(X, np.array(["a", "b", "c"])[Y])
    with pytest.raises(ValueError, match=r"imb_aux=.*predicts the classes \['a', 'b', 'c'\]"):
        quick(imb_aux=FrozenEstimator(stranger)).fit(X, Y)


def test_net_auxiliary_whose_probabilities_are_logits():
    net = tiny_net(criterion=nn.NLLLoss)  # skorch then takes the logits for probabilities
    with pytest.raises(ValueError, match=r"noise_aux.*logits needs criterion=.*CrossEntropyLoss"):
        quick(noise_aux=net).fit(X, Y)


def test_target_whose_module_is_too_narrow():
    with pytest.raises(ValueError, match=r"target.*2 outputs.*3 classes"):
        quick(target=tiny_net(4, 2)).fit(X, Y)


def test_target_that_fails_in_training():
    with pytest.raises(ValueError, match=r"target=.*failed.*mat1 and mat2 shapes") as caught:
        quick(target=tiny_net(7, 3)).fit(X, Y)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_target_that_leaves_rows_out_when_it_predicts():
    net = tiny_net(iterator_valid__drop_last=True, train_split=None)
    with pytest.raises(ValueError, match=r"target: its iterator_valid gave 96 of 102 rows"):
        quick(target=net).fit(X, Y)


def test_target_that_diverges():
    with pytest.raises(ValueError, match=r"target.*NaN.*learning rate"):
        quick(target=tiny_net(lr=1e30)).fit(X, Y)


@pytest.mark.parametrize(
    "weight, message",
    [
        (np.zeros(len(Y)), "sample_weight is zero on all rows. Give some a positive"),
        (
            (Y == 1).astype(float),
            r"sample_weight is positive on rows of one class only, \[1\]",
        ),
        (-np.ones(len(Y)), "Negative values.*sample_weight"),
        (np.where(Y == 1, np.nan, 1.0), "sample_weight contains NaN"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(102,\)"),
    ],
)
def test_sample_weight(weight, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(X, Y, sample_weight=weight)


def test_weights_whose_sum_is_infinite():
    clf = quick().fit(X, Y, sample_weight=np.full(len(Y), 1e308))
    np.testing.assert_allclose(clf.predict_proba(X), quick().fit(X, Y).predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    "auxiliary, name", [(Oracle(np.asarray), "Oracle"), (tiny_net(), ".class 'skorch")]
)
def test_weights_an_auxiliary_cannot_use_are_announced(auxiliary, name):
    with pytest.warns(UserWarning, match=rf"noise_aux={name}.* takes no sample_weight"):
        quick(noise_aux=auxiliary).fit(X, Y, sample_weight=1.0 + Y)


def test_a_net_inside_a_search_is_told_how_to_be_read():
    net = tiny_net(train_split=None)
    search = GridSearchCV(net, {"lr": [0.1, 0.01]}, cv=2)
    with pytest.raises(ValueError, match=r"noise_aux=Grid[\s\S]*IntegerLabelC") as caught:
        quick(noise_aux=search).fit(X.astype(np.float64), Y)
    assert len(str(caught.value)) < 1500
    wrapped = GridSearchCV(IntegerLabelClassifier(net), {"estimator__lr": [0.1]}, cv=2)
    assert quick(noise_aux=wrapped).fit(X.astype(np.float64), Y).n_features_in_ == X.shape[1]


def test_a_loss_of_the_targets_own_is_announced():
    net = tiny_net(criterion__label_smoothing=0.1)
    with pytest.warns(UserWarning, match=r"criterion__label_smoothing has no effect.*base_loss"):
        quick(target=net).fit(X, Y)


@pytest.mark.parametrize(
    "name", ["noise_aux__n_estimators", "imb_aux__alpha", "target__max_epochs"]
)
def test_a_parameter_of_a_part_that_only_fit_makes(name):
    part = name.partition("__")[0]
    with pytest.raises(ValueError, match=rf"{name} cannot be set.*{part}=default_{part}\("):
        DSinkClassifier().set_params(**{name: 3})
    clf = DSinkClassifier().set_params(target__lr=0.5, target=tiny_net())
    assert clf.target.lr == 0.5


def test_a_loss_that_corrects_for_class_shares_inside_another():
    with pytest.raises(ValueError, match="corrects for the class shares, and so does"):
        quick(base_loss=ClassBalanced(LogitAdjusted())).fit(X, Y)


def test_unknown_fit_parameters():
    with pytest.raises(ValueError, match="groups"):
        quick().fit(X, Y, groups=Y)


@pytest.mark.parametrize("solver", ["potentials", "pot"])
def test_transport_that_does_not_converge(solver):
    with pytest.warns(ConvergenceWarning, match=r"max_iter") as caught:
        clf = quick(solver=solver, max_iter=1, class_marginal=[0.01, 0.01, 0.98]).fit(X, Y)
    assert {warning.category for warning in caught} == {ConvergenceWarning}
    assert re.search(r"\d\.\d", str(caught[0].message)), "the marginal error is told"
    np.testing.assert_allclose(clf.surrogate_labels_.sum(axis=1), 1, rtol=1e-6)
    assert clf.transport_error_ > clf.tol


def test_an_unfitted_classifier_says_so():
    for method in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(NotFittedError):
            getattr(DSinkClassifier(), method)(X)


def test_a_fit_that_fails_leaves_nothing_that_claims_to_be_fitted():
    clf = quick().fit(X, Y)
    clf.set_params(noise_aux=BreaksInFold())
    with pytest.raises(ValueError, match="disk is full"):
        clf.fit(X[:, :2], Y)
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)
    with pytest.raises(NotFittedError):
        clf.predict(X)
    assert not hasattr(clf, "surrogate_labels_")
    clf.set_params(noise_aux=GaussianNB()).fit(X, Y).predict(X)


class Failing(GaussianNB):
    """Fits; what comes then, its `how` says."""

    def __init__(self, how="predict"):
        super().__init__()
        self.how = how

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y)
        if self.how == "no classes":
            del self.classes_
        return None if self.how == "returns nothing" else self

    def predict_proba(self, X):
        if self.how == "predict":
            raise RuntimeError("out of luck")
        return super().predict_proba(X)


@pytest.mark.parametrize(
    "how, message",
    [
        ("predict", "imb_aux=Failing.* failed to predict: RuntimeError: out of luck"),
        ("no classes", r"imb_aux=Failing\(.* has no classes_ after its fit"),
    ],
)
@pytest.mark.parametrize("cv", [2, None])
def test_an_auxiliary_that_cannot_predict_is_named(how, message, cv):
    with pytest.raises(ValueError, match=message):
        quick(imb_aux=Failing(how), cv=cv).fit(X, Y)


def test_a_fit_that_returns_nothing_is_a_fit():
    found = quick(imb_aux=Failing("returns nothing")).fit(X, Y)
    expected = quick(imb_aux=Failing("nothing")).fit(X, Y)
    np.testing.assert_array_equal(found.imb_aux_proba_, expected.imb_aux_proba_)


def test_texts_for_an_auxiliary_that_reads_numbers():
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.array(["red", "blue"])[Y % 2]})
    steps = [FunctionTransformer(inv_kw_args={"unused": i}) for i in range(30)]
    noise_aux = make_pipeline(*steps, GaussianNB())
    message = r"noise_aux=Pipeline.*put sklearn_dsink\.inputs\.TabularEncoder\(\) before it"
    with pytest.raises(ValueError, match=message) as error:
        quick(noise_aux=noise_aux, imb_aux=None).fit(frame, Y)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    "fit",
    [
        lambda y: quick().fit(X, y),
        lambda y: NetClassifier(max_epochs=1).fit(X, y),
        lambda y: KernelClassifier().fit(X, y),
        lambda y: PriorCorrectedClassifier(GaussianNB()).fit(X, y),
        lambda y: IntegerLabelClassifier(GaussianNB()).fit(X, y),
        lambda y: flip_labels(y, 0.1),
        lambda y: find_label_issues(y, np.eye(2)[np.zeros(len(y), dtype=int)]),
    ],
)
def test_a_missing_label_is_named_by_all_that_read_labels(fit):
    y = np.array(["a", "b"], dtype=object)[np.arange(len(X)) % 2]
    y[3] = None
    with pytest.raises(ValueError, match=r"1 of .* labels are missing \(first: row 3\)"):
        fit(y)
