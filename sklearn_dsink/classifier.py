"""DSinkClassifier: its parameters, the order of the fit, and what it predicts."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, _fit_context
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)
from skorch import NeuralNetClassifier
from torch import nn

from ._arrays import FloatArray, column_totals, safe_log
from .auxiliaries import is_frozen, request_weights
from .crossfit import Auxiliary, fit_auxiliaries
from .defaults import default_imb_aux, default_noise_aux, default_target
from .folds import make_folds
from .inputs import Float32Array, TabularEncoder, validate_features
from .inspection import find_label_issues
from .label_model import LabelModel, fit_label_model, smooth_log
from .losses import CrossEntropy, SampleLoss
from .prediction import apply_prior, check_prior, pool
from .probabilities import predict_aligned
from .refinement import refit_auxiliaries
from .report import write_report
from .surrogate import SurrogateLabeler
from .target import fit_target, log_probabilities
from .transport import floor_marginal

# Weight of the target beside the auxiliaries in a combined prediction.
TARGET_SHARE = 0.5

_MAX_SEED = np.iinfo(np.int32).max

#: The published method: ``DSinkClassifier(noise_aux=..., imb_aux=..., **PAPER)``.
PAPER: dict[str, Any] = {
    "alpha": 1.0,
    "cv": None,
    "class_prior": "train",
    "noise_correction": False,
    "refine": False,
    "class_marginal": "imb_aux",
    "base_loss": "cross_entropy",
    "prior_correction": False,
    "combine": False,
    "relaxation": None,
}


class DSinkClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Distil a noise-robust and an imbalance-robust classifier into one (D-SINK).

    One auxiliary looks after wrong labels, the other after classes of very different size.
    Surrogate labels follow the first sample by sample, while their class totals are those that
    both and the given labels support; optimal transport finds them, and a neural target learns
    from them as it helps to renew them.

    Parameters
    ----------
    noise_aux : classifier, default=None
        Robust to label noise (f_N).  Any classifier with ``predict_proba``: scikit-learn's,
        imbalanced-learn's, a Pipeline, a skorch ``NeuralNetClassifier`` (it is given float32
        features and label codes), or a ``FrozenEstimator``, which is used as it is and never
        refitted.  None is extremely randomized trees.
    imb_aux : classifier, default=None
        Robust to class imbalance (f_L).  None is a kernel classifier that weighs all classes
        alike.
    target : skorch.NeuralNetClassifier, default=None
        The net that learns (f).  Its module, optimizer, callbacks, device and epochs are its own;
        its loss is replaced.  A criterion of ``NLLLoss``, skorch's default, says that the module
        returns probabilities, any other that it returns logits.  None is a net for tables and
        embeddings.
    alpha : float, default=4.0
        Weight of the surrogate label against the given label in the target's loss.
    cv : int, splitter, iterable or None, default=5
        Folds of the auxiliaries' training probabilities.  None takes in-sample probabilities, as
        the paper does.  An integer deals out the rows so that classes of any size fit.
    class_prior : {"uniform", "train"} or array-like of shape (n_classes,), default="uniform"
        Class prior that predictions answer for.  "train" is `class_marginal_`.  May be changed on
        the fitted classifier: the correction is exact and needs no refit.
    noise_correction : bool, default=True
        Whether the surrogate labels start from what a label model of both auxiliaries and the
        given labels says of each row (:func:`sklearn_dsink.label_model.fit_label_model`), or from
        f_N as it is.
    refine : bool, default=True
        Whether both auxiliaries are fitted a second time, on what the given labels probably are.
        Needs folds, and auxiliaries that take ``sample_weight``; others stay as they are.
    class_marginal : {"estimated", "noise_aux", "imb_aux"} or array-like, default="estimated"
        Class shares that the surrogate labels meet: the label model's, an auxiliary's mean
        probabilities, or given ones in the order of the sorted classes.
    base_loss : {"cross_entropy"}, nn.Module or None, default="cross_entropy"
        Loss of the given labels.  A module is called with (logits, labels) and returns one loss a
        row, such as those of :mod:`sklearn_dsink.losses`.
    prior_correction : bool, default=True
        Whether the target's loss explains the class shares by a shift of its logits, so that the
        net itself answers for the uniform prior.
    combine : bool, default=True
        Whether predictions are the geometric mean of the target and of both auxiliaries, pooled
        and corrected for their class prior by the label model, or the target's alone.
    relaxation : float or None, default=None
        KL weight of the class totals; None asks for them exactly, 0 drops them.
    warmup : int, default=5
        Epochs before the surrogate labels are first renewed; until then they are f_N's.
    renew_every : int, default=1
        Epochs between renewals.
    solver : {"auto", "pot", "potentials"}, default="auto"
        Transport solver, see :func:`sklearn_dsink.transport.solve`.
    tol : float, default=1e-6
        Largest L1 distance of the class shares reached from those asked for.
    max_iter : int, default=1000
        Most iterations of one transport.
    n_jobs : int, default=None
        Auxiliary fits that run at the same time.
    random_state : int, RandomState instance or None, default=None
        Fixes folds, the auxiliaries' open seeds, initial weights and batches.  The global
        generators are left as they were.
    verbose : int, default=0
        0 is silent, 1 counts fits and epochs, 2 prints a line an epoch besides.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where X has string names.
    noise_aux_, imb_aux_ : classifier
        Auxiliaries fitted on all rows.
    noise_aux_proba_, imb_aux_proba_ : ndarray of shape (n_samples, n_classes)
        Their probabilities of the training rows, out-of-fold unless `cv` is None.
    target_ : skorch.NeuralNetClassifier
        Fitted target; its classes are codes ``0..n_classes-1``.
    surrogate_labels_ : ndarray of shape (n_samples, n_classes)
        What each training label probably is; rows sum to 1.  The transpose of the paper's Q,
        which sums to ``n_samples`` as well.
    class_marginal_ : ndarray of shape (n_classes,)
        Class shares that the surrogate labels meet; sums to 1.
    class_potentials_ : ndarray of shape (n_classes,)
        Logarithm of the paper's u, of mean 0.
    noise_matrix_ : ndarray of shape (n_classes, n_classes)
        Estimated P(given label | true label); rows sum to 1.
    transport_n_iter_, n_iter_ : int
        Iterations of the last transport, which `max_iter` bounds.
    transport_error_ : float
        L1 distance of its class shares from `class_marginal_`.
    history_ : list of dict
        An entry an epoch: ``train_loss``, ``marginal_error``, ``labels_moved``, ...

    See Also
    --------
    sklearn_dsink.PAPER : Settings of the published method.
    NetClassifier : The target's net as a classifier of its own.

    References
    ----------
    .. [1] Hong et al. (2025). Dual-granularity Sinkhorn distillation for enhanced learning from
       long-tailed noisy data. arXiv:2510.08179.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_dsink import DSinkClassifier
    >>> from sklearn_dsink.datasets import flip_labels
    >>> X, y = load_wine(return_X_y=True)
    >>> y_given, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = DSinkClassifier(random_state=0).fit(X, y_given)
    >>> clf.score(X, y) > 0.9
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "noise_aux": [object],
        "imb_aux": [object],
        "target": [NeuralNetClassifier, None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "cv": ["cv_object"],
        "class_prior": [StrOptions({"uniform", "train"}), "array-like"],
        "noise_correction": ["boolean"],
        "refine": ["boolean"],
        "class_marginal": [StrOptions({"estimated", "noise_aux", "imb_aux"}), "array-like"],
        "base_loss": [StrOptions({"cross_entropy"}), nn.Module, None],
        "prior_correction": ["boolean"],
        "combine": ["boolean"],
        "relaxation": [Interval(Real, 0, None, closed="left"), None],
        "warmup": [Interval(Integral, 0, None, closed="left")],
        "renew_every": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions({"auto", "pot", "potentials"})],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        noise_aux: Any = None,
        imb_aux: Any = None,
        target: Any = None,
        *,
        alpha: float = 4.0,
        cv: Any = 5,
        class_prior: Any = "uniform",
        noise_correction: bool = True,
        refine: bool = True,
        class_marginal: Any = "estimated",
        base_loss: Any = "cross_entropy",
        prior_correction: bool = True,
        combine: bool = True,
        relaxation: float | None = None,
        warmup: int = 5,
        renew_every: int = 1,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 1000,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.noise_aux = noise_aux
        self.imb_aux = imb_aux
        self.target = target
        self.alpha = alpha
        self.cv = cv
        self.class_prior = class_prior
        self.noise_correction = noise_correction
        self.refine = refine
        self.class_marginal = class_marginal
        self.base_loss = base_loss
        self.prior_correction = prior_correction
        self.combine = combine
        self.relaxation = relaxation
        self.warmup = warmup
        self.renew_every = renew_every
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # One resolver for each default: fit, routing and tags all ask here.

    def _get_noise_aux(self) -> Any:
        return request_weights(default_noise_aux()) if self.noise_aux is None else self.noise_aux

    def _get_imb_aux(self) -> Any:
        return request_weights(default_imb_aux()) if self.imb_aux is None else self.imb_aux

    def _get_target(self, inputs: Float32Array, n_classes: int) -> NeuralNetClassifier:
        return default_target(inputs, n_classes) if self.target is None else self.target

    def _get_base_loss(self, class_counts: FloatArray, n_samples: int) -> nn.Module | None:
        if self.base_loss is None:
            return None
        loss = CrossEntropy() if isinstance(self.base_loss, str) else deepcopy(self.base_loss)
        if isinstance(loss, SampleLoss):
            if loss.needs_index:
                raise ValueError(
                    f"base_loss={loss!r} keeps a memory of each sample, which the target's loss "
                    "cannot; use it in an auxiliary."
                )
            loss.prepare(torch.as_tensor(class_counts), n_samples)
        return loss

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> DSinkClassifier:
        """Fit both auxiliaries, solve the transport and train the target.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features.  The auxiliaries see a data frame as it is.
        y : array-like of shape (n_samples,)
            Given labels, of any type that scikit-learn accepts.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0 of the rows, in every stage; None weighs all alike.
        **params : dict
            Routed to the auxiliaries; only with metadata routing enabled.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y, the weights, a parameter or an auxiliary's probabilities cannot be used; the
            message names what was found and what to do.
        TypeError
            If an auxiliary has no ``predict_proba``.

        Warns
        -----
        ConvergenceWarning
            If a transport did not meet its class shares within `tol`.
        """
        _raise_for_params(params, self, "fit")
        self._forget()
        X, codes, weight = self._validate(X, y, sample_weight)
        n_samples, n_classes = len(codes), len(self.classes_)
        rng = check_random_state(self.random_state)

        self._class_share = np.bincount(codes, weights=weight, minlength=n_classes) / n_samples
        first, last, model = self._fit_auxiliaries(X, codes, weight, params, rng)
        noise, imb = first["noise_aux"], first["imb_aux"]
        noise_rows = model.posterior if self.noise_correction else noise.proba
        marginal = self._class_marginal(first, model, weight)

        labeler = SurrogateLabeler(
            safe_log(noise_rows),
            marginal,
            weight,
            solver=self.solver,
            relaxation=self.relaxation,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        surrogate, _ = labeler()

        encoder = TabularEncoder(random_state=rng.randint(_MAX_SEED))
        inputs = encoder.fit_transform(X)
        net = self._get_target(inputs, n_classes)
        target = fit_target(
            net,
            inputs,
            codes,
            surrogate.astype(np.float32, copy=False),
            sample_weight=weight,
            alpha=self.alpha,
            base_loss=self._get_base_loss(self._class_share * n_samples, n_samples),
            log_prior=np.log(marginal) if self.prior_correction else None,
            renew=labeler,
            warmup=self.warmup,
            every=self.renew_every,
            seed=rng.randint(_MAX_SEED),
            verbose=self.verbose,
        )
        labels, _ = labeler(log_probabilities(target, inputs, corrected=True))

        self.noise_aux_, self.noise_aux_proba_ = noise.estimator, noise.proba
        self.imb_aux_, self.imb_aux_proba_ = imb.estimator, imb.proba
        self.target_, self._encoder = target, encoder
        self._prior_corrected = self.prior_correction
        self._label_model = replace(model, posterior=model.posterior[:0])  # to predict, no rows
        self._experts = {name: aux.estimator for name, aux in last.items()}
        self.noise_matrix_ = model.noise_matrix
        self._given, self._index = codes, getattr(X, "index", None)
        self.class_marginal_ = marginal
        self.surrogate_labels_ = labels
        self.class_potentials_ = labeler.result.potentials
        self.transport_n_iter_ = self.n_iter_ = labeler.result.n_iter
        self.transport_error_ = labeler.result.marginal_error
        self.history_ = [
            {key: value for key, value in epoch.items() if key != "batches"}
            for epoch in target.history
        ]
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Class probabilities under `class_prior`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features, with the columns of the training rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes), dtype float64
            Columns in the order of `classes_`; rows sum to 1.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features, with the columns of the training rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes), dtype float64
        """
        check_is_fitted(self)
        check_prior(self.class_prior, self.classes_)
        X = validate_features(self, X, reset=False)
        inputs = self._encoder.transform(X)
        log_target = log_probabilities(self.target_, inputs, corrected=False).astype(np.float64)
        if not self._prior_corrected:
            log_target -= np.log(self.class_marginal_)
        if not self.combine:
            return apply_prior(log_target, self._log_prior())
        log_scores = [
            smooth_log(predict_aligned(expert, X, self.classes_, self._class_share, name))
            for name, expert in self._experts.items()
        ]
        log_pool = self._label_model.log_proba(log_scores) - np.log(self._label_model.class_share)
        pooled = pool([log_target, log_pool], [TARGET_SHARE, 1.0 - TARGET_SHARE])
        return apply_prior(pooled, self._log_prior())

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Most probable class under `class_prior`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features, with the columns of the training rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        log_proba = self.predict_log_proba(X)
        return np.asarray(self.classes_[np.argmax(log_proba, axis=1)])

    def _fit_auxiliaries(
        self,
        X: Any,
        codes: npt.NDArray[np.int64],
        weight: FloatArray | None,
        params: dict[str, Any],
        rng: np.random.RandomState,
    ) -> tuple[dict[str, Auxiliary], dict[str, Auxiliary], LabelModel]:
        """Fit f_N and f_L on the given labels, then on what these probably are."""
        auxiliaries = {"noise_aux": self._get_noise_aux(), "imb_aux": self._get_imb_aux()}
        fit_params = None
        if _routing_enabled():
            routed = process_routing(self, "fit", **params)
            fit_params = {name: routed[name].fit for name in auxiliaries}
        folds = make_folds(self.cv, X, codes, rng)
        run: dict[str, Any] = {
            "classes": self.classes_,
            "class_share": self._class_share,
            "folds": folds,
            "sample_weight": weight,
            "n_jobs": self.n_jobs,
            "verbose": self.verbose,
        }
        first = fit_auxiliaries(
            auxiliaries, X, self.classes_[codes], fit_params=fit_params, random_state=rng, **run
        )
        model = self._fit_label_model(first, codes, weight)
        if folds is None or not self.refine:
            return first, first, model
        # f_L sees to the classes' sizes itself; f_N is not made to.
        last = refit_auxiliaries(first, model, X, codes, balanced=frozenset({"noise_aux"}), **run)
        return first, last, self._fit_label_model(last, codes, weight)

    def _fit_label_model(
        self,
        auxiliaries: dict[str, Auxiliary],
        codes: npt.NDArray[np.int64],
        weight: FloatArray | None,
    ) -> LabelModel:
        log_scores = [smooth_log(aux.proba) for aux in auxiliaries.values()]
        return fit_label_model(log_scores, codes, sample_weight=weight)

    def _class_marginal(
        self, auxiliaries: dict[str, Auxiliary], model: LabelModel, weight: FloatArray | None
    ) -> FloatArray:
        """Class shares that the surrogate labels must meet."""
        if not isinstance(self.class_marginal, str):
            marginal: FloatArray = np.asarray(self.class_marginal, dtype=np.float64)
            if marginal.shape != self.classes_.shape:
                raise ValueError(
                    f"class_marginal has shape {marginal.shape}, expected {self.classes_.shape}: "
                    "one share for each class."
                )
        elif self.class_marginal == "estimated":
            marginal = model.class_share
        else:
            totals = column_totals(auxiliaries[self.class_marginal].proba, weight)
            marginal = totals / totals.sum()
        n_samples = len(auxiliaries["noise_aux"].proba)
        return floor_marginal(marginal, min(0.5 / n_samples, 0.5 / len(marginal)))

    def label_issues(self, *, threshold: float = 0.5) -> pd.DataFrame:
        """Rank the training rows by how surely their given label is wrong.

        Parameters
        ----------
        threshold : float, default=0.5
            Rows whose label has a quality below it are flagged.

        Returns
        -------
        issues : DataFrame
            Worst label first, named by the index of the training frame or by row number; see
            :func:`sklearn_dsink.find_label_issues` for its columns.
        """
        check_is_fitted(self)
        return find_label_issues(
            self.classes_[self._given],
            self.surrogate_labels_,
            classes=self.classes_,
            noise_proba=self.noise_aux_proba_,
            imb_proba=self.imb_aux_proba_,
            index=self._index,
            threshold=threshold,
        )

    def report(self, path: Any, **options: Any) -> Path:
        """Write what the fit found to one HTML file that needs nothing else.

        Parameters
        ----------
        path : path-like
            The file.
        **options : dict
            Passed to :func:`sklearn_dsink.report.write_report`.

        Returns
        -------
        path : Path
            Where it was written.
        """
        check_is_fitted(self)
        return write_report(self, path, **options)

    def _log_prior(self) -> FloatArray:
        if isinstance(self.class_prior, str):
            if self.class_prior == "uniform":
                return np.zeros(len(self.classes_))
            return np.log(self.class_marginal_)
        return np.log(np.asarray(self.class_prior, dtype=np.float64))

    def _validate(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Any, npt.NDArray[np.int64], FloatArray | None]:
        """Check what fit was given; labels leave as codes, weights with mean 1."""
        for name in ("noise_aux", "imb_aux"):
            _check_auxiliary(getattr(self, name), name)
        if self.alpha == 0 and self.base_loss is None:
            raise ValueError(
                "alpha=0 with base_loss=None leaves the target nothing to learn. Raise alpha, or "
                "give a base_loss."
            )
        X = validate_features(self, X, reset=True)
        if X.shape[0] < 2:
            raise ValueError(
                "X has 1 sample (n_samples = 1): learning classes needs two rows or more."
            )
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        y = column_or_1d(y, warn=True)
        _check_finite_labels(y)
        check_classification_targets(y)
        check_consistent_length(X, y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class only, {self.classes_.tolist()}: a classifier needs two or more."
            )
        check_prior(self.class_prior, self.classes_)
        if sample_weight is None:
            return X, codes, None
        given_weight = np.asarray(sample_weight)
        if given_weight.size and not given_weight.any():
            raise ValueError("sample_weight is zero on all rows. Give some a positive weight.")
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        present = np.unique(codes[weight > 0])
        if len(present) < 2:
            raise ValueError(
                f"sample_weight is positive on rows of one class only, "
                f"{self.classes_[present].tolist()}: a classifier needs two or more. Give rows "
                "of other classes a positive weight."
            )
        return X, codes, weight / weight.mean()

    def _forget(self) -> None:
        """Drop an earlier fit first: one that fails half-way must not pass for a fitted one."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "target_")

    def get_metadata_routing(self) -> MetadataRouter:
        """Get metadata routing of this object: ``fit`` passes on to both auxiliaries.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(noise_aux=self._get_noise_aux(), method_mapping=mapping).add(
            imb_aux=self._get_imb_aux(), method_mapping=mapping
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        auxiliaries = [get_tags(self._get_noise_aux()), get_tags(self._get_imb_aux())]
        tags.input_tags.sparse = all(aux.input_tags.sparse for aux in auxiliaries)
        tags.input_tags.allow_nan = all(aux.input_tags.allow_nan for aux in auxiliaries)
        return tags


def _check_auxiliary(estimator: Any, name: str) -> None:
    """Refuse an auxiliary that gives no probabilities, and say what to do."""
    if estimator is None:
        return
    if isinstance(estimator, type):
        raise TypeError(f"{name}={estimator!r} is a class; give an instance of it.")
    missing = [method for method in ("fit", "predict_proba") if not hasattr(estimator, method)]
    if missing:
        raise TypeError(
            f"{name}={estimator!r} has no {' and no '.join(missing)}. Wrap a classifier that only "
            "decides in sklearn.calibration.CalibratedClassifierCV."
        )
    if is_frozen(estimator):
        try:
            check_is_fitted(estimator)
        except NotFittedError as error:
            raise ValueError(
                f"{name}={estimator!r} is not fitted. Fit the classifier before freezing it."
            ) from error


def _check_finite_labels(y: npt.NDArray[Any]) -> None:
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError(
            f"Input y contains infinity (first: row {int(np.flatnonzero(np.isinf(y))[0])}). "
            "Drop these rows, or label them."
        )
    missing = pd.isna(y)
    if missing.any():
        raise ValueError(
            f"Input y contains NaN: {int(missing.sum())} of {len(y)} labels are missing (first: "
            f"row {int(np.flatnonzero(missing)[0])}). Drop these rows, or label them."
        )
