"""A net trained with the class-balanced focal loss."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..losses import ClassBalanced, Focal, SampleLoss
from ._constraints import NET_CONSTRAINTS


class FocalClassifier(BaseNetClassifier):
    r"""A net trained with the focal loss, classes weighted by their effective number.

    .. math:: \ell(z, y) = -\alpha_y (1 - p_y)^\gamma \log p_y, \qquad
        p = \mathrm{softmax}(z), \quad \alpha_y \propto \frac{1 - \beta}{1 - \beta^{n_y}}

    Rows that are right already count less. Wrong labels are never right, so the focal loss
    dwells on them: it is the first to suffer from label noise.

    Parameters
    ----------
    gamma : float, default=2.0
        Focus, at least 0; 0 is (weighted) cross-entropy.
    beta : float, default=0.9999
        Class weights as in `ClassBalancedClassifier`; 0 is the focal loss without them.
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
    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5, with the class
    weights of Cui et al., "Class-Balanced Loss Based on Effective Number of Samples",
    CVPR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.imbalance import FocalClassifier
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> clf = FocalClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> clf.predict_proba(X[:3]).shape
    (3, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NET_CONSTRAINTS,
        "gamma": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        beta: float = 0.9999,
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
        self.gamma = gamma
        self.beta = beta

    def _make_loss(self) -> SampleLoss:
        return ClassBalanced(Focal(self.gamma), beta=self.beta)
