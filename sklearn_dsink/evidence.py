"""What both auxiliaries and the given labels say together, of training rows and of new ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arrays import FloatArray, column_totals
from .class_values import read_by_class
from .crossfit import Auxiliary, fit_auxiliaries
from .folds import Fold, merge_folds
from .inputs import TabularEncoder
from .jobs import RunOptions
from .label_model import LabelModel, fit_label_model
from .probabilities import predict_aligned
from .refinement import can_be_refitted, refit_auxiliaries
from .shared_encoding import Encoded, with_encoder
from .transport import floor_marginal

# Fits that leave out two folds grow with the square of the folds; more are merged into these.
_MOST_FOLDS = 8

# Of the last label model: without a clean label nothing tells how sure it may be, and it is surer
# than it is right.  docs/ablation.rst has the effect.
_POWER = 0.7


@dataclass(frozen=True)
class Experts:
    """The auxiliaries' models, of the first fits and the second, pooled by the label model.

    Attributes
    ----------
    estimators : dict of str to classifier
        Fitted models by parameter name.
    pipelines : dict of str to Pipeline
        Unfitted, of those that read what an encoder, their first step, has made of X.
    label_model : LabelModel
        Fitted to their training probabilities, in the same order; its rows are left out.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    """

    estimators: dict[str, Any]
    pipelines: dict[str, Any]
    label_model: LabelModel
    classes: npt.NDArray[Any]

    def classifier(self, name: str, encoder: TabularEncoder) -> Any:
        """Give a model that reads X as the user gives it, behind its encoder where it has one."""
        model, pipeline = self.estimators[name], self.pipelines.get(name)
        return model if pipeline is None else with_encoder(encoder, pipeline, model)

    def log_proba(self, X: Any, encoded: Any = None) -> FloatArray:
        """Pooled scores for the uniform class prior, without the models' biases to classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows as the user gave them.
        encoded : {ndarray, csr_matrix}, default=None
            What the encoder makes of them, for those that read it.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Up to a constant a row.
        """
        share = self.label_model.class_share  # of a class that a second fit was not taught
        probas = []
        for name, estimator in self.estimators.items():
            rows = encoded if name in self.pipelines else X
            probas.append(predict_aligned(estimator, rows, self.classes, share, name))
        correction = self.label_model.offset - np.log(share)
        return np.asarray(self.label_model.log_proba(probas) + correction)


@dataclass(frozen=True)
class Evidence:
    """Fits on the given labels, and what is known of the training rows after them.

    Attributes
    ----------
    auxiliaries : dict of str to Auxiliary
        Fitted on the given labels.
    label_model : LabelModel
        Of all fits, with a posterior of each training row.
    experts : Experts
        All fits, to predict with.
    encoded : Encoded or None
        The table as auxiliaries read it, where one of them begins with an encoder.
    """

    auxiliaries: dict[str, Auxiliary]
    label_model: LabelModel
    experts: Experts
    encoded: Encoded | None


def gather_evidence(
    auxiliaries: dict[str, Any],
    X: Any,
    codes: npt.NDArray[np.int64],
    *,
    classes: npt.NDArray[Any],
    folds: list[Fold] | None,
    refine: bool,
    sample_weight: FloatArray | None,
    fit_params: dict[str, dict[str, Any]] | None,
    random_state: np.random.RandomState,
    options: RunOptions | None = None,
) -> Evidence:
    """Fit the auxiliaries on the given labels, and again on what these probably are.

    Parameters
    ----------
    auxiliaries : dict of str to classifier
        Parameter names and unfitted, or frozen, classifiers.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Features.
    codes : ndarray of shape (n_samples,), dtype int64
        Given labels as codes.
    classes : ndarray of shape (n_classes,)
        Labels of the codes.
    folds : list of (train, test) or None
        None takes in-sample probabilities, and refits nothing.
    refine : bool
        Whether to refit on corrected labels.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of mean 1.
    fit_params : dict of str to dict, or None
        Routed parameters by auxiliary.
    random_state : RandomState
        Source of the seeds.
    options : RunOptions, default=None
        How the fits are run.

    Returns
    -------
    evidence : Evidence
    """
    counts = np.bincount(codes, weights=sample_weight, minlength=len(classes))
    share = counts / counts.sum()
    if folds is None or not any(map(can_be_refitted, auxiliaries.values())):
        refine = False
    elif refine:
        folds = merge_folds(folds, _MOST_FOLDS)
    run: dict[str, Any] = {
        "classes": classes,
        "folds": folds,
        "sample_weight": sample_weight,
        "options": options,
    }
    first = fit_auxiliaries(
        auxiliaries,
        X,
        classes[codes],
        class_share=share,
        nested=refine and _n_heavy(folds, sample_weight) > 2,
        fit_params=fit_params,
        random_state=random_state,
        **run,
    )
    how = {"n_starts": 1} if refine else {"power": _POWER}  # the first of two teaches, no more
    model, experts = _label_model(first, codes, sample_weight, **how), dict(first)
    if refine:
        second = refit_auxiliaries(first, model, X, codes, **run)
        experts |= {f"{name} refitted": auxiliary for name, auxiliary in second.items()}
        model = _label_model(experts, codes, sample_weight, power=_POWER)
    pooled = Experts(
        {name: aux.estimator for name, aux in experts.items()},
        {name: aux.template for name, aux in experts.items() if aux.encoded is not None},
        replace(model, posterior=model.posterior[:0].copy()),  # a view would keep all of it
        classes,
    )
    known = {name: replace(aux, unseen=None) for name, aux in first.items()}
    encoded = next((aux.encoded for aux in first.values() if aux.encoded is not None), None)
    return Evidence(known, model, pooled, encoded)


def choose_class_marginal(
    choice: Any, evidence: Evidence, sample_weight: FloatArray | None
) -> FloatArray:
    """Class shares that the surrogate labels are to meet.

    Parameters
    ----------
    choice : {"estimated", "noise_aux", "imb_aux"}, mapping or array-like of shape (n_classes,)
        The label model's shares, an auxiliary's mean probabilities, or shares of the user's.
    evidence : Evidence
        Of the training rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the rows.

    Returns
    -------
    class_marginal : ndarray of shape (n_classes,)
        Sums to 1; no class has less than half a row, or half of an equal share.

    Raises
    ------
    ValueError
        If given shares are not one for each class.
    """
    n_samples, n_classes = evidence.label_model.posterior.shape
    if not isinstance(choice, str):
        marginal = read_by_class(choice, evidence.experts.classes, "class_marginal")
    elif choice == "estimated":
        marginal = evidence.label_model.class_share
    else:
        totals = column_totals(evidence.auxiliaries[choice].proba, sample_weight)
        marginal = totals / totals.sum()
    return floor_marginal(marginal, 0.5 / max(n_samples, n_classes))


def _n_heavy(folds: list[Fold] | None, sample_weight: FloatArray | None) -> int:
    """Count the folds that have a row of positive weight to teach."""
    if sample_weight is None:
        return len(folds or ())
    return sum(bool(sample_weight[test].any()) for _, test in folds or ())


def _label_model(
    auxiliaries: dict[str, Auxiliary],
    codes: npt.NDArray[np.int64],
    sample_weight: FloatArray | None,
    **how: Any,
) -> LabelModel:
    probas = [aux.proba for aux in auxiliaries.values()]
    return fit_label_model(probas, codes, sample_weight=sample_weight, **how)
