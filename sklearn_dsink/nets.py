"""The tabular net behind our classifiers, and how a skorch net is built around it.

Everything torch and skorch need to be told is told here once: standardised inputs, AdamW with a
cosine schedule, tensor slicing instead of a row-wise loader, logits as outputs. The scikit-learn
side is in :mod:`sklearn_dsink._base_net`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from ._precision import LossScalingNet, check_autocast, check_scales, computing_in
from ._quiet import without_warnings
from .iterators import TensorIterator

# Standardised inputs are squashed smoothly to this absolute value.
_CLIP = 4.0
_FARTHEST = 1e9


class CosineHead(nn.Module):
    """Linear classifier on unit vectors: logits are `scale` times cosines.

    Parameters
    ----------
    n_inputs, n_classes : int
        Sizes of the input and of the output.

    scale : float, default=30.0
        The largest possible logit.
    """

    def __init__(self, n_inputs: int, n_classes: int, scale: float = 30.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, n_inputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.scale = scale

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (n_samples, n_classes)."""
        # In float16 the least length by which a row is divided would be 0, and a row of zeros NaN.
        unit_h = nn.functional.normalize(h.float(), dim=1)
        unit_weight = nn.functional.normalize(self.weight, dim=1)
        return self.scale * nn.functional.linear(unit_h, unit_weight)


class TabularNet(nn.Module):
    """Feed-forward net for tables and embeddings; gives logits.

    The net is ``head(features(x))``: inputs are standardised and squashed softly, or embedded
    feature by feature, passed through blocks of linear layer, layer normalisation, ReLU and
    dropout (`features`), and classified by one layer (`head`).

    Parameters
    ----------
    n_features, n_classes : int
        Sizes of the input and of the output.

    hidden_layer_sizes : sequence of int, default=(256,)
        Width of each hidden layer; empty for a linear model.

    dropout : float, default=0.1
        Share of hidden units dropped in training.

    center, scale : array of shape (n_features,) or None, default=None
        Subtracted from, and divided into, the inputs. None stands for 0 and for 1.

    bins : list of tensor or None, default=None
        Bin edges of each standardised feature, as from :func:`quantile_bins`; the features then
        pass through piecewise-linear embeddings (needs ``rtdl_num_embeddings``).

    embedding_size : int, default=8
        Size of a feature's piecewise-linear embedding.

    head : {"linear", "cosine"}, default="linear"
        Classifier; "cosine" is :class:`CosineHead`, which LDAM asks for.

    head_scale : float, default=30.0
        Scale of the cosine head.

    input_noise : float, default=0.0
        Standard deviation of the Gaussian noise added to standardised inputs in training.

    autocast : {"bfloat16", "float16"} or None, default=None
        Whether the layers compute in mixed precision; weights, standardised inputs and losses
        stay float32. bfloat16 has the range of float32. float16 has not, so that the loss has to
        be scaled in training, as the nets of :func:`make_net` do.

    References
    ----------
    Y. Gorishniy, I. Rubachev, A. Babenko: On Embeddings for Numerical Features in Tabular Deep
    Learning. NeurIPS 2022. Section 3.2 has the piecewise-linear encoding.

    Examples
    --------
    >>> import torch
    >>> from sklearn_dsink.nets import TabularNet
    >>> net = TabularNet(n_features=4, n_classes=3)
    >>> net(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        hidden_layer_sizes: Sequence[int] = (256,),
        dropout: float = 0.1,
        center: npt.ArrayLike | None = None,
        scale: npt.ArrayLike | None = None,
        bins: list[torch.Tensor] | None = None,
        embedding_size: int = 8,
        head: str = "linear",
        head_scale: float = 30.0,
        input_noise: float = 0.0,
        autocast: str | None = None,
    ) -> None:
        super().__init__()
        check_autocast(autocast)
        self.autocast = autocast
        self.input_noise = input_noise
        self.register_buffer("center", _float_row(center, n_features, 0.0))
        self.register_buffer("scale", _float_row(scale, n_features, 1.0))
        self.embedding = None if bins is None else _piecewise_embedding(bins, embedding_size)
        width = n_features if bins is None else n_features * embedding_size
        layers: list[nn.Module] = []
        for size in hidden_layer_sizes:
            layers += [nn.Linear(width, size), nn.LayerNorm(size), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout > 0 else []
            width = size
        self.body = nn.Sequential(*layers)
        self.head: nn.Module
        if head == "linear":
            self.head = nn.Linear(width, n_classes)
        elif head == "cosine":
            self.head = CosineHead(width, n_classes, head_scale)
        else:
            raise ValueError(f"head must be 'linear' or 'cosine', got {head!r}.")
        self.float()  # as the inputs are, whatever torch's default dtype is

    def features(self, X: torch.Tensor) -> torch.Tensor:
        """Return what the head classifies, shape (n_samples, last hidden size)."""
        h = (X - self.center) / self.scale
        if self.training and self.input_noise > 0:
            h = h + self.input_noise * torch.randn_like(h)
        if self.embedding is None:
            # Heavy-tailed features would otherwise drown the others: |h| < _CLIP, slope 1 at 0.
            h = h.clamp(-_FARTHEST, _FARTHEST)  # whose square is finite
            h = h / torch.sqrt(1 + (h / _CLIP) ** 2)
        else:
            h = self.embedding(h).flatten(1)
        with computing_in(self.autocast, h.device):
            features: torch.Tensor = self.body(h)
        return features

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (n_samples, n_classes)."""
        features = self.features(X)
        with computing_in(self.autocast, features.device):
            logits: torch.Tensor = self.head(features)
        return logits.float()


def quantile_bins(
    X: npt.NDArray[np.floating[Any]],
    center: npt.ArrayLike,
    scale: npt.ArrayLike,
    *,
    n_bins: int = 32,
    max_rows: int = 20_000,
) -> list[torch.Tensor]:
    """Bin edges at the quantiles of each standardised feature.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Training inputs, not standardised.

    center, scale : array-like of shape (n_features,)
        As given to :class:`TabularNet`.

    n_bins : int, default=32
        Most bins a feature can have; fewer where values repeat.

    max_rows : int, default=20_000
        Quantiles are those of this many rows, evenly spaced in `X`.

    Returns
    -------
    bins : list of n_features tensors of increasing edges, at least two each
    """
    rows = X[:: -(-len(X) // max_rows)]
    rows = (rows - np.asarray(center)) / np.asarray(scale)
    n_bins = max(1, min(n_bins, len(rows) - 1))
    quantiles = np.quantile(rows, np.linspace(0, 1, n_bins + 1), axis=0).astype(np.float32)
    bins = []
    for column in quantiles.T:
        edges = np.unique(column)
        if len(edges) == 1:  # a constant feature: any bin around it will do
            edges = edges + np.array([-1.0, 1.0], dtype=np.float32)
        bins.append(torch.from_numpy(edges))
    return bins


class CosineSchedule(Callback):
    """Learning rate that rises linearly, then falls to zero as a cosine over `max_epochs`.

    Parameters
    ----------
    warm_up : float, default=0.1
        Share of the training in which the rate rises.

    Notes
    -----
    It follows the net's own ``max_epochs``, whatever that is when training starts. Epochs beyond
    (a second ``partial_fit``) start a new cycle.
    """

    def __init__(self, warm_up: float = 0.1) -> None:
        self.warm_up = warm_up

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note where this cycle starts."""
        self.first_epoch_ = len(net.history)

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Count the batches to come."""
        batch_size = net.batch_size if net.batch_size > 0 else len(dataset_train)
        self.n_batches_ = max(1, len(dataset_train) // batch_size)
        self.batch_ = 0

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set the learning rate of the step to come."""
        if not training:
            return
        epoch = len(net.history) - 1 - self.first_epoch_
        done = min(1.0, (epoch + min(1.0, self.batch_ / self.n_batches_)) / net.max_epochs)
        self.batch_ += 1
        if done < self.warm_up:
            factor = 0.05 + 0.95 * done / self.warm_up
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up)))
        for group in net.optimizer_.param_groups:
            group["lr"] = factor * net.lr


def softmax_of_logits(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities from logits; the nets' prediction nonlinearity.

    Of logits of shape (n_samples, n_nets, n_classes), which two nets in one module give callbacks
    in training, it is the mean over the nets.
    """
    proba = torch.softmax(logits, dim=-1)
    return proba.mean(dim=1) if proba.ndim == 3 else proba


def default_batch_size(n_samples: int) -> int:
    """Batch size that gives small data about 20 steps an epoch: a power of 2 in [16, 512]."""
    size = 2 ** round(math.log2(max(n_samples, 1) / 20))
    return min(max(size, 16), 512 if n_samples > 50_000 else 256)


def make_net(
    n_features: int,
    n_classes: int,
    *,
    criterion: nn.Module | type[nn.Module] | Callable[[], nn.Module],
    n_samples: int,
    hidden_layer_sizes: Sequence[int] = (256,),
    dropout: float = 0.1,
    center: npt.ArrayLike | None = None,
    scale: npt.ArrayLike | None = None,
    bins: list[torch.Tensor] | None = None,
    head: str = "linear",
    head_scale: float = 30.0,
    input_noise: float = 0.0,
    autocast: str | None = None,
    max_epochs: int = 60,
    batch_size: int | None = None,
    lr: float = 2e-3,
    weight_decay: float = 1e-2,
    device: str = "cpu",
    callbacks: Sequence[Any] | None = None,
    compile: bool = False,
    verbose: int = 0,
    train_split: Any = None,
    module: type[nn.Module] = TabularNet,
    net_class: type[NeuralNetClassifier] = LossScalingNet,
) -> NeuralNetClassifier:
    """Build an untrained skorch net around :class:`TabularNet`.

    Parameters
    ----------
    n_features, n_classes : int
        Sizes of the input and of the output.

    criterion : torch.nn.Module instance, class or factory
        Receives (logits, y) as skorch passes them; returns a scalar.

    n_samples : int
        Number of training rows; sets the default batch size.

    hidden_layer_sizes, dropout, center, scale, bins, head, head_scale, input_noise, autocast
        As in :class:`TabularNet`.

    max_epochs : int, default=60
        Passes over the data.

    batch_size : int or None, default=None
        None resolves to :func:`default_batch_size`.

    lr, weight_decay : float
        AdamW's; the learning rate follows :class:`CosineSchedule`.

    device : str, default="cpu"
        Where to train.

    callbacks : sequence of skorch callbacks or None, default=None
        Added to the ones every net has.

    compile : bool, default=False
        Whether to compile the module with ``torch.compile``; on the CPU it needs a C++ compiler.

    verbose : int, default=0
        Whether skorch prints a line an epoch.

    train_split : callable or None, default=None
        skorch's validation split; None trains on every row.

    module : type, default=TabularNet
        Module class; takes the same arguments.

    net_class : type, default=LossScalingNet
        Class of the net; the default is skorch.NeuralNetClassifier with scaling for float16.

    Returns
    -------
    net : skorch.NeuralNetClassifier
        Not initialised. Its ``predict_proba`` gives the softmax of the logits.

    Raises
    ------
    ValueError
        If ``autocast="float16"`` and `net_class` does not scale the loss.
    """
    if autocast == "float16":
        check_scales(net_class)
    options: dict[str, Any] = {}
    if not verbose:
        options["callbacks__print_log"] = None
    return net_class(
        module,
        module__n_features=n_features,
        module__n_classes=n_classes,
        module__hidden_layer_sizes=tuple(hidden_layer_sizes),
        module__dropout=dropout,
        module__center=center,
        module__scale=scale,
        module__bins=bins,
        module__head=head,
        module__input_noise=input_noise,
        module__head_scale=head_scale,
        module__autocast=autocast,
        classes=list(range(n_classes)),
        criterion=criterion,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=weight_decay,
        optimizer__fused=True,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=default_batch_size(n_samples) if batch_size is None else batch_size,
        iterator_train=TensorIterator,
        iterator_train__shuffle=True,
        iterator_train__device=device,
        iterator_valid=TensorIterator,
        # What a batch leaves between two layers stays in cache; on an accelerator calls cost more.
        iterator_valid__batch_size=1024 if torch.device(device).type == "cpu" else 4096,
        iterator_valid__device=device,
        train_split=train_split,
        predict_nonlinearity=softmax_of_logits,
        callbacks=[("schedule", CosineSchedule()), *(callbacks or [])],
        callbacks__valid_acc=None,
        device=device,
        compile=compile,
        verbose=verbose,
        **options,
    )


def leave_training(net: NeuralNetClassifier) -> None:
    """Put a fitted net into the mode that predictions need, so that they change nothing."""
    net.module_.eval()
    net.criterion_.eval()


def plain_history(net: NeuralNetClassifier) -> list[dict[str, Any]]:
    """Return a net's history, a dict an epoch, without its batches."""
    return [{key: value for key, value in row.items() if key != "batches"} for row in net.history]


def _float_row(values: npt.ArrayLike | None, size: int, default: float) -> torch.Tensor:
    if values is None:
        return torch.full((size,), default)
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(size).clone()


def _piecewise_embedding(bins: list[torch.Tensor], embedding_size: int) -> nn.Module:
    try:
        from rtdl_num_embeddings import PiecewiseLinearEmbeddings
    except ImportError as error:
        raise ImportError(
            "numeric_embedding='piecewise' needs the package rtdl_num_embeddings: "
            "pip install rtdl_num_embeddings."
        ) from error
    # A feature with two values has one bin, which is all it can have.
    with without_warnings(".*just two bin edges", UserWarning):
        embedding: nn.Module = PiecewiseLinearEmbeddings(
            bins, embedding_size, activation=False, version="B"
        )
    return embedding
