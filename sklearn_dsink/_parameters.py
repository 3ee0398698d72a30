"""What a DSinkClassifier is told: its parameters, their defaults, and what follows from them."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from skorch import NeuralNetClassifier
from torch import nn

from ._arrays import FloatArray
from ._fingerprint import take_fingerprint
from .auxiliaries import check_auxiliary, request_weights
from .class_values import check_prior, read_by_class
from .defaults import default_imb_aux, default_noise_aux, default_target
from .inputs import Float32Array, validate_features
from .losses import LogitAdjusted
from .surrogate import SurrogateLabeler
from .transport import floor_marginal
from .validation import check_weights, encode_labels

# Entries of (n_samples, n_classes) up to which ``refine="auto"`` fits the auxiliaries again.
REFINE_SIZE = 500_000

# What makes the parts that are None: from where, and called how.
_DEFAULT_PARTS = {
    "noise_aux": "default_noise_aux(n_features)",
    "imb_aux": "default_imb_aux()",
    "target": "default_target(X, n_classes)",
}


class DSinkParameters(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Parameters of :class:`sklearn_dsink.DSinkClassifier`, which documents them."""

    _parameter_constraints: dict[str, list[Any]] = {
        "noise_aux": [object],
        "imb_aux": [object],
        "target": [NeuralNetClassifier, None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "cv": ["cv_object"],
        "class_prior": [StrOptions({"uniform", "train"}), dict, "array-like"],
        "noise_correction": ["boolean"],
        "refine": ["boolean", StrOptions({"auto"})],
        "class_marginal": [
            StrOptions({"estimated", "noise_aux", "imb_aux"}),
            dict,
            "array-like",
        ],
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
        "warm_start": ["boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "fit_timeout": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        noise_aux: Any = None,
        imb_aux: Any = None,
        target: Any = None,
        *,
        alpha: float = 1.0,
        cv: Any = 5,
        class_prior: Any = "uniform",
        noise_correction: bool = True,
        refine: bool | str = "auto",
        class_marginal: Any = "estimated",
        base_loss: Any = None,
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
        warm_start: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        fit_timeout: float | None = None,
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
        self.warm_start = warm_start
        self.checkpoint_dir = checkpoint_dir
        self.fit_timeout = fit_timeout

    def set_params(self, **params: Any) -> DSinkParameters:
        """Set parameters of this classifier, or of its auxiliaries and target (``target__lr``).

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no parameter of a name, or it is one of a part that is None.
        """
        for name in params:
            part, _, rest = name.partition("__")
            if rest and part in _DEFAULT_PARTS and params.get(part, getattr(self, part)) is None:
                raise ValueError(
                    f"{name} cannot be set, since {part} is None and only fit makes its default. "
                    f"Give one first, such as {part}={_DEFAULT_PARTS[part]} of "
                    "sklearn_dsink.defaults."
                )
        return super().set_params(**params)

    # One resolver for each default: fit, routing and tags all ask here.

    def _get_noise_aux(self, n_columns: int = 1) -> Any:
        """Return f_N, whose default asks for the columns that it will see; routing does not."""
        if self.noise_aux is None:
            return request_weights(default_noise_aux(n_columns))
        return self.noise_aux

    def _get_imb_aux(self) -> Any:
        return request_weights(default_imb_aux()) if self.imb_aux is None else self.imb_aux

    def _get_target(
        self, inputs: Float32Array, n_classes: int, weight: FloatArray | None
    ) -> NeuralNetClassifier:
        if self.target is None:
            return default_target(inputs, n_classes, weight)
        return self.target

    def _refines(self, n_samples: int) -> bool:
        if self.refine == "auto":
            return n_samples * len(self.classes_) <= REFINE_SIZE
        return bool(self.refine)

    def _labeler(
        self, log_noise: FloatArray, marginal: FloatArray, weight: FloatArray | None
    ) -> SurrogateLabeler:
        return SurrogateLabeler(
            log_noise,
            marginal,
            weight,
            solver=self.solver,
            relaxation=self.relaxation,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def _fingerprint(
        self,
        X: Any,
        codes: npt.NDArray[np.int64],
        classes: npt.NDArray[Any],
        weight: FloatArray | None,
        params: dict[str, Any],
        folds: Any = None,
    ) -> dict[str, str]:
        others = {"sample_weight": weight, "fit_params": params, "folds": folds}
        return take_fingerprint(self.get_params(deep=False), X, codes, classes=classes, **others)

    def _validate(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Any, npt.NDArray[np.int64], FloatArray | None]:
        """Check what fit was given; labels leave as codes, weights with mean 1."""
        for name in ("noise_aux", "imb_aux"):
            check_auxiliary(getattr(self, name), name)
        if self.alpha == 0 and self.base_loss is None:
            raise ValueError(
                "alpha=0 with base_loss=None leaves the target nothing to learn. Raise alpha, or "
                "give a base_loss."
            )
        parts = self.base_loss.modules() if isinstance(self.base_loss, nn.Module) else ()
        if self.prior_correction and any(isinstance(part, LogitAdjusted) for part in parts):
            raise ValueError(
                "base_loss=LogitAdjusted(...) corrects for the class shares, and so does "
                "prior_correction=True, which would do it twice. Give prior_correction=False, or "
                "another base_loss."
            )
        X = validate_features(self, X, reset=True)
        self.classes_, codes = encode_labels(X, y, type(self).__name__)
        check_prior(self.class_prior, self.classes_)
        if not isinstance(self.class_marginal, str):  # before the auxiliaries' fits, not after
            shares = read_by_class(self.class_marginal, self.classes_, "class_marginal")
            floor_marginal(shares, floor=0.0)
        return X, codes, check_weights(sample_weight, X, codes, self.classes_)

    def _routed(
        self, params: dict[str, Any], weight: FloatArray | None
    ) -> dict[str, dict[str, Any]]:
        """Parameters of the splitter and, where metadata is routed, of each auxiliary's fit."""
        if not _routing_enabled():
            return {"splitter": {}}
        if weight is not None:
            params = {**params, "sample_weight": weight}
        routed = process_routing(self, "fit", **params)
        split = routed["splitter"].split if hasattr(self.cv, "split") else {}
        return {"splitter": split} | {name: routed[name].fit for name in ("noise_aux", "imb_aux")}

    def get_metadata_routing(self) -> MetadataRouter:
        """Get metadata routing of this object: ``fit`` passes on to auxiliaries and splitter.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router.add(noise_aux=self._get_noise_aux(), method_mapping=mapping)
        router.add(imb_aux=self._get_imb_aux(), method_mapping=mapping)
        if hasattr(self.cv, "split"):
            mapping = MethodMapping().add(caller="fit", callee="split")
            router.add(splitter=self.cv, method_mapping=mapping)
        return router

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Our own auxiliaries read anything, but a pipeline's tags would not say so.
        given = (self.noise_aux, self.imb_aux)
        auxiliaries = [get_tags(aux) for aux in given if aux is not None]
        tags.input_tags.sparse = all(aux.input_tags.sparse for aux in auxiliaries)
        tags.input_tags.allow_nan = all(aux.input_tags.allow_nan for aux in auxiliaries)
        return tags
