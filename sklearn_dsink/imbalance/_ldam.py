"""A net with larger margins for smaller classes and deferred re-weighting."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..losses import LDAM, ClassBalanced, SampleLoss
from ._constraints import NET_CONSTRAINTS


class LDAMClassifier(BaseNetClassifier):
    r"""A net with label-distribution-aware margins and deferred re-weighting (LDAM-DRW).

    .. math:: \ell(z, y) = -\log \frac{e^{s (\cos_y - m_y)}}
        {e^{s (\cos_y - m_y)} + \sum_{k \ne y} e^{s \cos_k}}, \qquad m_c \propto n_c^{-1/4}

    with the cosines between the last hidden layer and the class vectors, the largest margin
    equal to `max_margin`, and in the last epochs the effective-number class weights.

    Parameters
    ----------
    max_margin : float, default=0.5
        Margin of the smallest class, as a difference of cosines; at least 0.
    scale : float, default=30.0
        Logits are this many times cosines; positive.
    beta : float, default=0.9999
        Class weights as in `ClassBalancedClassifier`.
    start : float, default=0.8
        Share of the epochs after which the class weights apply; 1: never.
    hidden_layer_sizes, numeric_embedding, dropout, max_epochs, batch_size, lr, weight_decay
        As in :class:`~sklearn_dsink.NetClassifier`.
    early_stopping, validation_fraction, patience, callbacks, device
        As in :class:`~sklearn_dsink.NetClassifier`.
    compile, verbose, random_state
        As in :class:`~sklearn_dsink.NetClassifier`.

    Attributes
    ----------
    classes_, net_, history_, n_iter_, n_features_in_, feature_names_in_
        As in :class:`~sklearn_dsink.NetClassifier`.

    References
    ----------
    Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019, equations 12 and 13 and algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.imbalance import LDAMClassifier
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> clf = LDAMClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> clf.predict_proba(X[:3]).shape
    (3, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NET_CONSTRAINTS,
        "max_margin": [Interval(Real, 0, None, closed="left")],
        "scale": [Interval(Real, 0, None, closed="neither")],
        "beta": [Interval(Real, 0, 1, closed="left")],
        "start": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        max_margin: float = 0.5,
        scale: float = 30.0,
        beta: float = 0.9999,
        start: float = 0.8,
        hidden_layer_sizes: Sequence[int] = (256,),
        numeric_embedding: str | None = None,
        dropout: float = 0.1,
        max_epochs: int = 60,
        batch_size: int | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        early_stopping: bool = False,
        validation_fraction: float = 0.15,
        patience: int = 10,
        callbacks: Sequence[Any] | None = None,
        device: str = "cpu",
        compile: bool = False,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            numeric_embedding=numeric_embedding,
            dropout=dropout,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            callbacks=callbacks,
            device=device,
            compile=compile,
            verbose=verbose,
            random_state=random_state,
        )
        self.max_margin = max_margin
        self.scale = scale
        self.beta = beta
        self.start = start

    def _make_loss(self) -> SampleLoss:
        return ClassBalanced(LDAM(self.max_margin, self.scale), beta=self.beta, start=self.start)

    def _net_options(self) -> dict[str, Any]:
        return super()._net_options() | {"head": "cosine", "head_scale": self.scale}
