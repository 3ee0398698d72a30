"""Early-learning regularisation."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..losses import ELR, SampleLoss


class ELRClassifier(BaseNetClassifier):
    """Net that is held to what it predicted early on, before it memorises wrong labels.

    Each training row keeps a running mean of its predictions; a term log(1 - <target, p>) beside
    cross-entropy rewards agreement with it.

    Parameters
    ----------
    strength : float, default=3.0
        Weight of the regulariser, lambda in the paper. Published: 3 for symmetric noise on 10
        classes, 1 for asymmetric, 7 for 100 classes.
    memory : float, default=0.7
        How slowly a sample's target follows its predictions, beta in the paper. Published: 0.7
        for symmetric noise on 10 classes, else 0.9.
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
    S. Liu, J. Niles-Weed, N. Razavian, C. Fernandez-Granda: Early-Learning Regularization Prevents
    Memorization of Noisy Labels. NeurIPS 2020. Equations 6 and 9.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import ELRClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = ELRClassifier(random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "strength": [Interval(Real, 0, None, closed="left")],
        "memory": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        strength: float = 3.0,
        memory: float = 0.7,
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
        self.strength = strength
        self.memory = memory

    def _make_loss(self) -> SampleLoss:
        return ELR(self.strength, self.memory)
