"""DSinkClassifier: the order of the fit, and what it predicts."""

from __future__ import annotations

import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import _raise_for_params
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier

from ._arrays import FloatArray, at_least_float32, log_softmax, safe_log
from ._fingerprint import require_same
from ._net_states import renew_optimizers
from ._parameters import DSinkParameters
from ._seeding import draw_seed
from .checkpoint import Checkpoint, TargetKeeper
from .class_values import check_prior, read_by_class
from .evidence import choose_class_marginal, gather_evidence
from .folds import make_folds
from .inputs import Float32Array, n_seen, validate_features
from .inspection import FLAGGED_BELOW, find_label_issues
from .jobs import RunOptions
from .losses import CrossEntropy
from .nets import plain_history
from .report import write_report
from .shared_encoding import encode
from .surrogate import SurrogateLabeler
from .target import fit_target, log_probabilities
from .validation import check_weights, encode_labels, forget_fit

# Weight of the target beside the pooled auxiliaries in a combined prediction: it has learnt from
# all of them, and makes up for the weaker ones.
TARGET_SHARE = 0.3


class DSinkClassifier(DSinkParameters):
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
        Robust to class imbalance (f_L).  None is a kernel classifier in which rare classes weigh
        more.
    target : skorch.NeuralNetClassifier, default=None
        The net that learns (f).  Its module, optimizer, callbacks, device and epochs are its own;
        its loss is replaced.  A criterion of ``NLLLoss``, skorch's default, says that the module
        returns probabilities, any other that it returns logits.  With a ``train_split`` its
        ``valid_loss`` is that of the surrogate labels of the rows held back, which
        ``EarlyStopping`` may watch.  None is a net for tables and embeddings.
    alpha : float, default=1.0
        Weight of the surrogate label in the target's loss, beside the `base_loss` of the given
        label.
    cv : int, splitter, iterable or None, default=5
        Folds of the auxiliaries' training probabilities.  None takes in-sample probabilities, as
        the paper does.  An integer deals out the rows so that classes of any size fit; of a
        splitter, or splits, the training parts count too, and ``groups`` are routed to it.  With
        `refine` an auxiliary is fitted once for each pair of folds.
    class_prior : {"uniform", "train"}, dict or array-like, default="uniform"
        Class prior that predictions answer for: a dict or Series with a number for each label, or
        an array in the order of the sorted classes.  "train" is `class_marginal_`.  May be
        changed on the fitted classifier: the correction is exact and needs no refit.
    noise_correction : bool, default=True
        Whether the surrogate labels start from what a label model of both auxiliaries and the
        given labels says of each row (:func:`sklearn_dsink.label_model.fit_label_model`), or from
        f_N as it is.
    refine : bool or "auto", default="auto"
        Whether both auxiliaries are fitted a second time, on what the given labels probably are,
        and the label model over first and second fits.  Needs folds, which it merges to eight at
        most, and auxiliaries that take ``sample_weight``; others stay as they are.  Of two folds,
        which leave no third to learn from, each is taught by labels that it had a part in.
        "auto" refits up to half a million entries of (n_samples, n_classes).
    class_marginal : {"estimated", "noise_aux", "imb_aux"}, dict or array-like, default="estimated"
        Class shares that the surrogate labels meet: the label model's, of its posterior's totals
        and one row more in each class; an auxiliary's mean probabilities; or given ones, by label
        or in the order of the sorted classes.
    base_loss : {"cross_entropy"}, nn.Module or None, default=None
        Loss of the given labels; None learns from the surrogate labels alone, in which the given
        ones have their say.  A module such as those of :mod:`sklearn_dsink.losses` takes (logits,
        labels) and gives one loss a row.  `prior_correction` has shifted the logits before.
    prior_correction : bool, default=True
        Whether the target's loss explains the class shares by a shift of its logits, so that the
        net itself answers for the uniform prior.
    combine : bool, default=True
        Whether predictions are the weighted geometric mean of the target (0.3) and of all fits of
        the auxiliaries (0.7), pooled and corrected for their class prior by the label model; or
        the target's alone.
    relaxation : float or None, default=None
        KL weight of the class totals; None asks for them exactly, 0 drops them.
    warmup : int, default=5
        Epochs before the surrogate labels are first renewed; until then they are what the label
        model says, or f_N without `noise_correction`, brought to the class shares.
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
        generators are left as they were, but for numpy's that None draws a seed from.
    verbose : int, default=0
        0 is silent, 1 counts fits and epochs, 2 prints a line an epoch besides.
    warm_start : bool, default=False
        Whether a second fit on the same rows trains the target for ``max_epochs`` more and leaves
        the auxiliaries as they are.  The first fit keeps what the second needs; `checkpoint_dir`
        keeps nothing of the second.  There is no ``partial_fit``: folds, label model and class
        shares are those of one set of rows.
    checkpoint_dir : path-like, default=None
        Folder that keeps each auxiliary fit and each epoch, so that a fit that was killed goes on
        where it was when it is started again.  Needs an int as `random_state`.  The further
        epochs of a `warm_start` are not kept there.
    fit_timeout : float, default=None
        Seconds that one fit of an auxiliary may take, its predictions of the training rows
        included.  With it each runs in a process of its own, which is killed when they are over.

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
    encoder_ : TabularEncoder
        Turns X into the float32 matrix that `target_` reads.
    surrogate_labels_ : ndarray of shape (n_samples, n_classes)
        What each training label probably is; rows sum to 1.  The transpose of the paper's Q,
        which sums to ``n_samples`` as well.
    class_marginal_ : ndarray of shape (n_classes,)
        Class shares of the surrogate labels that the target is corrected for: those asked for or,
        under `relaxation`, those of the first labels; sums to 1.
    class_potentials_ : ndarray of shape (n_classes,)
        Logarithm of the paper's u, of mean 0.
    noise_matrix_ : ndarray of shape (n_classes, n_classes)
        Estimated P(given label | true label); rows sum to 1.
    transport_n_iter_, n_iter_ : int
        Iterations of the last transport, which `max_iter` bounds.
    transport_error_ : float
        L1 distance of its class shares from those asked for.
    timings_ : dict of str to float
        Seconds of each stage of the fit.
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

    # For a warm start: fingerprint, log f_N of the training rows, class shares asked for.
    _warm: tuple[dict[str, str], FloatArray, FloatArray] | None

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> DSinkClassifier:
        """Fit both auxiliaries, solve the transport and train the target.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features.  The auxiliaries see a data frame as it is.  Rows mapped from a file
            (``numpy.memmap``) may be larger than memory, where the auxiliaries are frozen;
            :func:`sklearn_dsink.blocks.store_blocks` makes them of a torch Dataset or of blocks.
        y : array-like of shape (n_samples,)
            Given labels, of any type that scikit-learn accepts.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0 of the rows, in every stage; None weighs all alike.
        **params : dict
            Routed to the auxiliaries, and to the splitter given as `cv` (``groups``); only with
            metadata routing enabled.

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
        TimeoutError
            If a fit of an auxiliary took longer than `fit_timeout`.

        Warns
        -----
        ConvergenceWarning
            If a transport did not meet its class shares within `tol`.
        """
        _raise_for_params(params, self, "fit")
        if self.warm_start and getattr(self, "_warm", None) is not None:
            return self._fit_further(X, y, sample_weight, params)
        forget_fit(self)
        self._warm = None
        X, codes, weight = self._validate(X, y, sample_weight)
        rng = check_random_state(self.random_state)
        start = time.perf_counter()
        routed = self._routed(params, weight)
        folds = make_folds(self.cv, X, codes, rng, weight, routed.pop("splitter"))
        checkpoint = None
        if self.warm_start or self.checkpoint_dir is not None:
            taken = self._fingerprint(X, codes, self.classes_, weight, params, folds)
        if self.checkpoint_dir is not None:
            checkpoint = Checkpoint(self.checkpoint_dir, taken, self.random_state)

        auxiliaries = {"noise_aux": self._get_noise_aux(n_seen(X)), "imb_aux": self._get_imb_aux()}
        evidence = gather_evidence(
            auxiliaries,
            X,
            codes,
            classes=self.classes_,
            folds=folds,
            refine=self._refines(len(codes)),
            sample_weight=weight,
            fit_params=routed or None,
            random_state=rng,
            options=RunOptions(self.n_jobs, self.verbose, checkpoint, self.fit_timeout),
        )
        model, noise = evidence.label_model, evidence.auxiliaries["noise_aux"]
        marginal = choose_class_marginal(self.class_marginal, evidence, weight)
        learnt = time.perf_counter()

        # The posterior has served: the logarithm may take its place in memory.
        proba = model.posterior if self.noise_correction else noise.proba
        log_noise = safe_log(proba, out=model.posterior)
        labeler = self._labeler(log_noise, marginal, weight)
        surrogate, _ = labeler()
        # Sparse rows are made dense batch by batch.
        how = {"sparse_output": True, "random_state": draw_seed(rng)}
        encoder, inputs = evidence.encoded or encode(X, weight, **how)
        self._aux_proba_ = {name: aux.proba for name, aux in evidence.auxiliaries.items()}
        self._experts_, self.encoder_ = evidence.experts, encoder
        self._given, self._index = codes, getattr(X, "index", None)
        self._taught = np.bincount(codes, weights=weight, minlength=len(self.classes_)) > 0
        self._prior_corrected = self.prior_correction
        self.noise_matrix_ = model.noise_matrix
        self.class_marginal_ = labeler.shares(surrogate)
        self.timings_ = {"auxiliaries and label model": learnt - start}
        self._fit_target(
            self._get_target(inputs, len(self.classes_), weight),
            inputs,
            surrogate.astype(np.float32, copy=False),
            labeler,
            seed=draw_seed(rng),
            since=learnt,
            keeper=None if checkpoint is None else checkpoint.target_keeper(labeler),
        )
        self._warm = (taken, log_noise, marginal) if self.warm_start else None
        return self

    def _fit_further(
        self, X: Any, y: Any, sample_weight: Any, params: dict[str, Any]
    ) -> DSinkClassifier:
        """Train the target for more epochs; where that fails, the last fit stands as it was."""
        start = time.perf_counter()
        X = validate_features(self, X, reset=False)
        classes, codes = encode_labels(X, y, type(self).__name__)
        weight = check_weights(sample_weight, X, codes, classes)
        assert self._warm is not None  # fit has looked
        taken, log_noise, marginal = self._warm
        require_same(taken, self._fingerprint(X, codes, classes, weight, params))
        net = deepcopy(self.target_)
        renew_optimizers(net)
        if self.target is not None:
            net.max_epochs = self.target.max_epochs
        seed = draw_seed(check_random_state(self.random_state))
        labeler = self._labeler(log_noise, marginal, weight)
        labeler()
        self._fit_target(
            net,
            self.encoder_.encode(X),
            self.surrogate_labels_.astype(np.float32),
            labeler,
            seed=seed,
            since=start,
            further=True,
        )
        self._index = getattr(X, "index", None)
        return self

    def _fit_target(
        self,
        net: NeuralNetClassifier,
        inputs: Float32Array,
        surrogate: Float32Array,
        labeler: SurrogateLabeler,
        *,
        seed: int,
        since: float,
        keeper: TargetKeeper | None = None,
        further: bool = False,
    ) -> None:
        target = fit_target(
            net,
            inputs,
            self._given,
            surrogate,
            sample_weight=labeler.sample_weight,
            alpha=self.alpha,
            base_loss=CrossEntropy() if self.base_loss == "cross_entropy" else self.base_loss,
            log_prior=np.log(self.class_marginal_) if self.prior_correction else None,
            renew=labeler,
            warmup=self.warmup,
            every=self.renew_every,
            seed=seed,
            verbose=self.verbose,
            keeper=keeper,
            further=further,
        )
        log_target = log_probabilities(target, inputs, corrected=True, out=surrogate)
        self.surrogate_labels_, _ = labeler(log_target)
        self.class_potentials_ = labeler.result.potentials
        self.transport_n_iter_ = self.n_iter_ = labeler.result.n_iter
        self.transport_error_ = labeler.result.marginal_error
        self.timings_["target and transport"] = time.perf_counter() - since
        self.history_ = plain_history(target)
        self.target_ = target  # last: with it, the classifier passes for fitted

    # A model that refers to its models twice would be saved with two copies of them.
    @property
    def noise_aux_(self) -> Any:
        """Fitted `noise_aux`."""
        return self._experts_.classifier("noise_aux", self.encoder_)

    @property
    def imb_aux_(self) -> Any:
        """Fitted `imb_aux`."""
        return self._experts_.classifier("imb_aux", self.encoder_)

    @property
    def noise_aux_proba_(self) -> FloatArray:
        """Probabilities of the training rows by `noise_aux`; large ones are kept with 3 digits."""
        return at_least_float32(self._aux_proba_["noise_aux"])

    @property
    def imb_aux_proba_(self) -> FloatArray:
        """Probabilities of the training rows by `imb_aux`; large ones are kept with 3 digits."""
        return at_least_float32(self._aux_proba_["imb_aux"])

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
        log_proba = self.predict_log_proba(X)
        return np.exp(log_proba, out=log_proba)

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
        log_prior = self._log_prior()
        X = validate_features(self, X, reset=False)
        inputs = self.encoder_.encode(X)
        log_proba = log_probabilities(self.target_, inputs, corrected=False, normalize=False)
        log_proba = log_proba + self._log_shift()  # in float64, as what comes after it
        if self.combine:  # the geometric mean
            experts = self._experts_.log_proba(X, inputs)
            log_proba = TARGET_SHARE * log_proba + (1.0 - TARGET_SHARE) * experts
        return log_softmax(log_proba + log_prior)  # Bayes' rule

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
        best = np.argmax(self.predict_log_proba(X), axis=1)
        return np.asarray(self.classes_[best])

    def label_issues(self, *, threshold: float = FLAGGED_BELOW) -> pd.DataFrame:
        """Rank the training rows, those of weight 0 too, by how surely their given label is wrong.

        Parameters
        ----------
        threshold : float, default=0.3
            Rows whose label has a lower quality are flagged.

        Returns
        -------
        issues : DataFrame
            Worst label first, named by the index of the training frame or by row number; see
            :func:`sklearn_dsink.inspection.find_label_issues` for its columns.
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

    def _log_shift(self) -> FloatArray:
        """Take the target's answers to the uniform class prior, where its loss did not."""
        log_marginal = np.log(self.class_marginal_)
        return np.zeros_like(log_marginal) if self._prior_corrected else -log_marginal

    def _log_prior(self) -> FloatArray:
        """Logarithm of `class_prior`, which may have been changed since the fit."""
        check_prior(self.class_prior, self.classes_)
        if isinstance(self.class_prior, str):
            if self.class_prior == "uniform":  # over the classes that have rows of any weight
                return np.where(self._taught, 0.0, -np.inf)
            return np.log(self.class_marginal_)
        return np.log(read_by_class(self.class_prior, self.classes_, "class_prior"))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "target_")
