"""Tau-normalisation: class vectors of a frozen net brought towards equal length."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval
from torch import nn

from ._constraints import NET_CONSTRAINTS
from ._decoupled import DecoupledNetClassifier


class TauNormClassifier(DecoupledNetClassifier):
    r"""Tau-normalisation: a plainly trained net whose class vectors are brought to equal length.

    .. math:: \tilde w_c = w_c \, (m / \lVert w_c \rVert)^{\tau}

    without a bias; classes with many rows have longer vectors. The common factor, with
    :math:`m` the geometric mean of the lengths, is ours: it leaves predicted classes as they
    are and keeps the probabilities from growing flat. Nothing is trained after the net itself.

    Parameters
    ----------
    tau : float, default=1.0
        0 only drops the bias, 1 makes all lengths equal; to be chosen on validation rows.
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
    Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition",
    ICLR 2020, section 4.1 and equation 10.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.imbalance import TauNormClassifier
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> clf = TauNormClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> clf.predict_proba(X[:3]).shape
    (3, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NET_CONSTRAINTS,
        "tau": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        tau: float = 1.0,
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

    def _second_stage(
        self,
        head: nn.Module,
        features: npt.NDArray[np.float32],
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
    ) -> nn.Module:
        with torch.no_grad():
            head.weight.copy_(normalized(head.weight, self.tau))  # type: ignore[operator]
            head.bias.zero_()  # type: ignore[operator]
        return head


def normalized(weight: Any, tau: float) -> torch.Tensor:
    """Scale the rows of a weight matrix towards their geometric mean length."""
    length = torch.linalg.vector_norm(weight, dim=1, keepdim=True).clamp_min(1e-12)
    scaled: torch.Tensor = weight * (length.log().mean().exp() / length) ** tau
    return scaled
