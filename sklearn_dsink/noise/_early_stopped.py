"""Early stopping that needs no clean labels."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..folds import deal_folds
from ..losses import CrossEntropy, SampleLoss


class EarlyStoppedNet(BaseNetClassifier):
    """Net trained for as many epochs as cross-validation on the given labels finds best.

    Nets learn what is common to many samples before they memorise single wrong labels. The loss
    on held-out rows, whose labels are as noisy, falls in the first phase and rises in the second.
    Its minimum over `cv` folds gives the number of epochs, and the net is then trained on all
    rows, so that rare classes lose none.

    Parameters
    ----------
    cv : int, default=3
        Folds; each costs one training of `max_epochs`.
    hidden_layer_sizes, numeric_embedding, dropout, max_epochs, batch_size, lr, weight_decay
        As in :class:`~sklearn_dsink.NetClassifier`. The learning rate follows the schedule of
        `max_epochs` and is cut off.
    class_weight, callbacks, device, compile, verbose, random_state
        As in :class:`~sklearn_dsink.NetClassifier`.

    Attributes
    ----------
    best_epoch_ : int
        Number of epochs of the final training.
    validation_curve_ : ndarray of shape (max_epochs,)
        Mean held-out cross-entropy after each epoch.
    classes_, net_, history_, n_iter_, n_features_in_, feature_names_in_
        As in :class:`~sklearn_dsink.NetClassifier`.

    References
    ----------
    D. Arpit et al.: A Closer Look at Memorization in Deep Networks. ICML 2017.

    M. Li, M. Soltanolkotabi, S. Oymak: Gradient Descent with Early Stopping is Provably Robust to
    Label Noise for Overparameterized Neural Networks. AISTATS 2020.

    P. Chen, J. Ye, G. Chen, J. Zhao, P.-A. Heng: Robustness of Accuracy Metric and its
    Inspirations in Learning with Noisy Labels. AAAI 2021: why noisy validation labels will do.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_dsink.datasets import flip_labels
    >>> from sklearn_dsink.noise import EarlyStoppedNet
    >>> X, y = load_wine(return_X_y=True)
    >>> y_noisy, _ = flip_labels(y, 0.3, random_state=0)
    >>> clf = EarlyStoppedNet(random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.8)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "cv": [Interval(Integral, 2, None, closed="left")],
    }

    best_epoch_: int
    validation_curve_: npt.NDArray[np.float64]

    def __init__(
        self,
        cv: int = 3,
        *,
        hidden_layer_sizes: Sequence[int] = (256,),
        numeric_embedding: str | None = None,
        dropout: float = 0.1,
        max_epochs: int = 60,
        batch_size: int | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        class_weight: str | dict[Any, float] | None = None,
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
            callbacks=callbacks,
            device=device,
            compile=compile,
            verbose=verbose,
            random_state=random_state,
        )
        self.cv = cv

    def _make_loss(self) -> SampleLoss:
        return CrossEntropy()

    def _fit_net(
        self,
        X: Any,
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
        seed: int,
        **options: Any,
    ) -> None:
        curve = np.zeros(self.max_epochs)
        for train, test in deal_folds(codes, self.cv, np.random.RandomState(seed)):
            if len(train) < 2:
                raise ValueError(
                    f"EarlyStoppedNet needs at least 3 samples for cv={self.cv} folds, found "
                    f"n_samples = {len(codes)}."
                )
            super()._fit_net(X, codes, weight, seed, valid=test.astype(np.int64))
            losses = [epoch["valid_loss"] for epoch in self.history_]
            if not losses:
                raise ValueError(
                    "EarlyStoppedNet has no epoch to choose: one of its callbacks ended the "
                    "training before the end of the first."
                )
            # Callbacks of the user's may end a fold early; its last loss stands for the rest.
            losses += [losses[-1]] * (self.max_epochs - len(losses))
            curve += len(test) * np.asarray(losses, dtype=np.float64)  # weighed already
        self.validation_curve_ = curve / len(codes)
        self.best_epoch_ = int(np.argmin(self.validation_curve_)) + 1
        super()._fit_net(X, codes, weight, seed, n_epochs=self.best_epoch_)
