"""Learnable weight scaling: one factor per class on a frozen net."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval
from torch import nn

from ._constraints import NET_CONSTRAINTS
from ._decoupled import DecoupledNetClassifier, train_head


class ScaledHead(nn.Module):
    """A frozen classifier, its logits times one learnable factor per class."""

    def __init__(self, head: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.head = head.requires_grad_(False)
        self.factor = nn.Parameter(torch.ones(n_classes))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (n_samples, n_classes)."""
        logits: torch.Tensor = self.factor * self.head(h)
        return logits


class LWSClassifier(DecoupledNetClassifier):
    r"""Learnable weight scaling (LWS): a frozen net with one learned factor per class.

    .. math:: z_c = f_c \, (w_c^\top h + b_c)

    A net is trained plainly; then only the factors :math:`f` are trained, from 1, with
    class-aware sampling, every class drawn equally often.

    Parameters
    ----------
    head_epochs : int, default=20
        Epochs of the second stage, each of as many draws as there are rows. Published: 5, on
        far more rows.
    head_lr : float, default=0.1
        Highest learning rate of the factors, which start at 1.
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
    head_history_ : list of dict
        The second stage's epochs.
    factors_ : ndarray of shape (n_classes,)
        The learned factors; the net's last layer is already multiplied by them.

    References
    ----------
    Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition",
    ICLR 2020, section 4.1 and equation 11.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_dsink.datasets import make_long_tailed
    >>> from sklearn_dsink.imbalance import LWSClassifier
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> clf = LWSClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> clf.predict_proba(X[:3]).shape
    (3, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NET_CONSTRAINTS,
        "head_epochs": [Interval(Integral, 1, None, closed="left")],
        "head_lr": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        *,
        head_epochs: int = 20,
        head_lr: float = 0.1,
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
        self.head_epochs = head_epochs
        self.head_lr = head_lr

    def _second_stage(
        self,
        head: nn.Module,
        features: npt.NDArray[np.float32],
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
    ) -> nn.Module:
        scaled = ScaledHead(head, len(self.classes_)).to(self.device)
        self.head_history_ = train_head(
            scaled,
            features,
            codes,
            weight,
            net=self.net_,
            max_epochs=self.head_epochs,
            lr=self.head_lr,
            weight_decay=0.0,
        )
        factor = scaled.factor.detach()
        self.factors_ = factor.cpu().numpy().copy()
        # Within the weights, they need no layer that a loaded net would not have.
        head.requires_grad_(True)
        with torch.no_grad():
            head.weight.mul_(factor[:, None])  # type: ignore[operator]
            head.bias.mul_(factor)  # type: ignore[operator]
        return head
