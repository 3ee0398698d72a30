"""A net trained with logit adjustment, which at strength 1 is balanced softmax."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from .._base_net import BaseNetClassifier
from ..class_values import read_prior
from ..losses import LogitAdjusted, SampleLoss
from ._constraints import NET_CONSTRAINTS


class LogitAdjustedClassifier(BaseNetClassifier):
    r"""A net trained with logit adjustment; at ``tau=1`` with balanced softmax.

    .. math:: \ell(z, y) = -\log \mathrm{softmax}(z + \tau \log \pi)_y

    The class prior :math:`\pi` is added to the logits in training and left out at prediction,
    so that the net answers for a uniform class prior.

    Label noise flattens the class sizes that are seen and with them the correction: give
    `class_prior` where the clean shares are known.

    Parameters
    ----------
    tau : float, default=1.0
        Strength, at least 0; 0 is plain cross-entropy.
    class_prior : dict, array-like of shape (n_classes,) or None, default=None
        Positive class shares by label, or in sorted order; None: those of the (weighted) training
        labels.
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
    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10. Ren et al.,
    "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, equation 4.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.imbalance import LogitAdjustedClassifier
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> clf = LogitAdjustedClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> clf.predict_proba(X[:3]).shape
    (3, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NET_CONSTRAINTS,
        "tau": [Interval(Real, 0, None, closed="left")],
        "class_prior": [dict, "array-like", None],
    }

    def __init__(
        self,
        *,
        tau: float = 1.0,
        class_prior: Any = None,
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
        self.tau = tau
        self.class_prior = class_prior

    def _make_loss(self) -> SampleLoss:
        prior = None
        if self.class_prior is not None:
            shares = read_prior(self.class_prior, self.classes_)
            prior = torch.as_tensor(shares, dtype=torch.float32)
        return LogitAdjusted(self.tau, prior)
