"""NetClassifier: the tabular net as a scikit-learn classifier, with a loss of choice."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from ._base_net import BaseNetClassifier
from .losses import LOSSES, SampleLoss

__all__ = ["NetClassifier"]


class NetClassifier(BaseNetClassifier):
    """A feed-forward net for tables and embeddings, trained with a loss of choice.

    Parameters
    ----------
    loss : str or SampleLoss, default="cross_entropy"
        A name in :data:`sklearn_dsink.losses.LOSSES`, or an instance of a loss from
        :mod:`sklearn_dsink.losses`, which is copied before training.

    hidden_layer_sizes : sequence of int, default=(256,)
        Width of each hidden layer.

    numeric_embedding : {"piecewise"} or None, default=None
        "piecewise" gives each feature a piecewise-linear embedding on its quantiles: better on
        irregular tables, worse on pixels and embeddings. Needs the extra ``tabular``; dense X.

    dropout : float, default=0.1
        Share of hidden units dropped in training.

    max_epochs : int, default=60
        Passes over the data.

    batch_size : int or None, default=None
        Rows in a step; None chooses a power of 2 that suits the number of rows.

    lr : float, default=2e-3
        Highest learning rate of AdamW; it warms up and falls to 0 as a cosine.

    weight_decay : float, default=1e-2
        AdamW's weight decay.

    class_weight : "balanced", dict or None, default=None
        Multiplied into `sample_weight`; as in scikit-learn.

    early_stopping : bool, default=False
        Whether to hold rows back, stop when their loss has not fallen for `patience` epochs, and
        keep the best epoch's weights.

    validation_fraction : float, default=0.15
        Share of rows held back by `early_stopping`.

    patience : int, default=10
        Epochs to wait for a better validation loss.

    callbacks : list of skorch callbacks or None, default=None
        Copied and added to the net's own. Scoring ones are given label codes 0..n_classes-1.

    device : str, default="cpu"
        Where to train, as torch names it.

    compile : bool, default=False
        Whether to compile the net with ``torch.compile``.

    verbose : int, default=0
        Whether to print a line an epoch.

    random_state : int, RandomState instance or None, default=None
        Fixes initial weights, batch order, dropout and validation rows. Global generators are
        left as they were.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.

    net_ : skorch.NeuralNetClassifier
        The trained net; ``net_.module_`` is the torch module.

    history_ : list of dict
        One per epoch: ``epoch``, ``train_loss``, ``dur``, and ``valid_loss`` with early stopping.

    n_iter_ : int
        Epochs trained.

    n_features_in_ : int
        Number of features.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, when all are strings.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dsink import NetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = NetClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetClassifier._parameter_constraints,
        "loss": [StrOptions(set(LOSSES)), SampleLoss],
    }

    def __init__(
        self,
        loss: str | SampleLoss = "cross_entropy",
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
        self.loss = loss

    def _make_loss(self) -> SampleLoss:
        if isinstance(self.loss, str):
            return LOSSES[self.loss]()
        return copy.deepcopy(self.loss)
