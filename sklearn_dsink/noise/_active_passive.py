"""Training with an active and a passive loss."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..losses import ActivePassive, SampleLoss


class ActivePassiveClassifier(BaseNetClassifier):
    """Net trained with normalised cross-entropy plus reverse cross-entropy.

    The first is active (it raises the given label's probability), the second passive (it lowers
    the others'); each alone is robust to symmetric noise, together they also fit.

    Parameters
    ----------
    alpha : float, default=1.0
        Weight of normalised cross-entropy. Published: 1 for 10 classes, 10 for 100.
    beta : float, default=1.0
        Weight of reverse cross-entropy. Published: 1 for 10 classes, 0.1 for 100.
    hidden_layer_sizes, numeric_embedding, dropout, max_epochs, batch_size, lr, weight_decay
        As in :class:`~sklearn_dsink.NetClassifier`.
    class_weight, early_stopping, validation_fraction, patience, callbacks, device
        As in :class:`~sklearn_dsink.NetClassifier`.
    compile, verbose, random_state
        As in :class:`~sklearn_dsink.NetClassifier`.

    Attributes
    ----------
    classes_, net_, history_, n_iter_, n_features_in_, feature_names_in_
        As in :class:`~sklearn_dsink.NetClassifier`.

    References
    ----------
    X. Ma, H. Huang, Y. Wang, S. Romano, S. Erfani, J. Bailey: Normalized Loss Functions for Deep
    Learning with Noisy Labels. ICML 2020. Equations 6 and 10.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import ActivePassiveClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = ActivePassiveClassifier(random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        *,
        hidden_layer_sizes: Sequence[int] = (256,),
        numeric_embedding: str | None = None,
        dropout: float = 0.1,
        max_epochs: int = 60,
        batch_size: int | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        class_weight: str | dict[Any, float] | None = None,
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
            class_weight=class_weight,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            callbacks=callbacks,
            device=device,
            compile=compile,
            verbose=verbose,
            random_state=random_state,
        )
        self.alpha = alpha
        self.beta = beta

    def _make_loss(self) -> SampleLoss:
        return ActivePassive(self.alpha, self.beta)
