"""A net whose samples are weighted by the effective number of their class."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..losses import ClassBalanced, SampleLoss
from ._constraints import NET_CONSTRAINTS


class ClassBalancedClassifier(BaseNetClassifier):
    r"""A net trained with cross-entropy, classes weighted by their effective number.

    .. math:: \ell(z, y) = -\frac{1 - \beta}{1 - \beta^{n_y}} \log \mathrm{softmax}(z)_y

    up to a common factor. ``start=0.8`` defers the weights to the last fifth of the epochs,
    which trains the features on the data as they are.

    Parameters
    ----------
    beta : float, default=0.9999
        In [0, 1): 0 weighs all classes alike, towards 1 by the inverse of their size.
    start : float, default=0.0
        Share of the epochs after which the weights apply, in [0, 1].
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
    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
    equation 7.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.imbalance import ClassBalancedClassifier
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> clf = ClassBalancedClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> clf.predict_proba(X[:3]).shape
    (3, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NET_CONSTRAINTS,
        "beta": [Interval(Real, 0, 1, closed="left")],
        "start": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        beta: float = 0.9999,
        start: float = 0.0,
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
        self.beta = beta
        self.start = start

    def _make_loss(self) -> SampleLoss:
        return ClassBalanced(beta=self.beta, start=self.start)
