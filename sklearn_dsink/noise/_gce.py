"""Training with generalised cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..losses import GCE, SampleLoss


class GCEClassifier(BaseNetClassifier):
    """Net trained with generalised cross-entropy (1 - p_y^q) / q, or its truncated form.

    The gradient of a sample is cross-entropy's times p_y^q, so labels that the net disbelieves
    count less.

    Parameters
    ----------
    q : float, default=0.7
        Between 0, cross-entropy, and 1, mean absolute error. Larger is more robust and learns
        more slowly, the more so the more classes there are.
    truncation : float or None, default=None
        Samples whose given label has a probability up to this are ignored, after the first
        third of the epochs. Published: 0.5.
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
    Z. Zhang, M. R. Sabuncu: Generalized Cross Entropy Loss for Training Deep Neural Networks with
    Noisy Labels. NeurIPS 2018. Equations 6 and 9.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import GCEClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = GCEClassifier(random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "q": [Interval(Real, 0, 1, closed="both")],
        "truncation": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(
        self,
        q: float = 0.7,
        truncation: float | None = None,
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
        self.q = q
        self.truncation = truncation

    def _make_loss(self) -> SampleLoss:
        return GCE(self.q, self.truncation)
