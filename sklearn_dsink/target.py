"""The target net: a skorch classifier trained on given labels and surrogate labels.

The net learns by our criterion, which reads (label, surrogate row, weight) as its y; a callback
renews the surrogate rows in place as the net learns.  The module, optimizer, callbacks, device,
batch size and epochs stay the net's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import get_len
from skorch.utils import to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ._arrays import FloatArray
from ._interrupts import ended_by_callbacks
from ._label_scores import score_by_labels
from ._loss_epochs import LossEpochs
from ._precision import check_scales
from ._progress import EpochProgress
from ._seeding import seeded
from ._target_net import module_outputs, prepare_net
from ._threads import few_threads
from .checkpoint import EpochOpening, TargetKeeper
from .losses import SampleLoss
from .nets import TabularNet

#: Renews the surrogate labels: takes log f(x) of all training rows, which it may overwrite, and
#: returns the rows of Q and what the history should hold of it.
Renewal = Callable[[Any], tuple[FloatArray, dict[str, float]]]

_TINY = torch.finfo(torch.float32).tiny
# Begins the names of our callbacks; a user's of the same name would be taken for it.
_OURS = "sklearn_dsink."
# How far the sum of a row may be from 1, computed in half precision by many classes.
_NO_PROBA = 0.05


class DistillationLoss(nn.Module):
    r"""Loss of the given label plus `alpha` times the cross-entropy to the surrogate row.

    .. math::

        \ell_i = w_i \left[ \ell_{base}(z_i + \log\pi, y_i)
                 - \alpha \sum_c q_{ic} \log \mathrm{softmax}_c(z_i + \log\pi) \right]

    and the mean of it over the batch.  With ``log_prior`` the classes' shares in the training
    labels are explained by the shift, so that ``softmax(z)`` answers for a uniform class prior
    (logit adjustment).  The surrogate row is a constant here: at the optimum of Q the gradient
    for f is that of this cross-entropy (envelope theorem).

    Parameters
    ----------
    alpha : float
        Weight of the distillation term.
    base_loss : nn.Module or None
        ``base_loss(logits, labels)`` returns a loss a row; None leaves the given labels out.
    log_prior : array-like of shape (n_classes,), default=None
        Logarithm of the class prior; None corrects nothing.
    outputs : {"logits", "proba"}, default="logits"
        What the module returns.

    References
    ----------
    Hong et al. (2025). D-SINK, arXiv:2510.08179.  Menon et al. (2021). Long-tail learning via
    logit adjustment, ICLR, eq. 10.

    Examples
    --------
    >>> loss = DistillationLoss(alpha=1.0, base_loss=None)
    >>> target = {
    ...     "label": torch.tensor([0]),
    ...     "surrogate": torch.tensor([[0.5, 0.5]]),
    ...     "weight": torch.ones(1),
    ... }
    >>> loss(torch.zeros(1, 2), target)
    tensor(0.6931)
    """

    log_prior: Tensor | None

    def __init__(
        self,
        alpha: float,
        base_loss: nn.Module | None,
        log_prior: npt.ArrayLike | None = None,
        outputs: str = "logits",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.base_loss = base_loss
        self.outputs = outputs
        self.checked_ = False
        prior = None if log_prior is None else torch.as_tensor(np.asarray(log_prior)).float()
        self.register_buffer("log_prior", prior)

    def forward(self, output: Any, target: dict[str, Tensor]) -> Tensor:
        """Mean loss of a batch.

        Parameters
        ----------
        output : Tensor of shape (n, n_classes), or a tuple that starts with it
            What the module returned.
        target : dict
            ``label`` (n,) int64, ``surrogate`` (n, n_classes), ``weight`` (n,).

        Returns
        -------
        loss : Tensor of shape ()
        """
        if self.outputs == "proba" and not self.checked_:
            self._check_proba(output)
        logits = self.logits(output, corrected=False)
        n_outputs, n_classes = logits.shape[-1], target["surrogate"].shape[1]
        if n_outputs != n_classes:
            raise ValueError(
                f"target: its module gives {n_outputs} outputs, but y has {n_classes} classes. "
                f"Build the module for {n_classes} classes."
            )
        if self.log_prior is not None:
            logits = logits + self.log_prior
        loss = logits.new_zeros(len(logits))
        if self.base_loss is not None:
            loss = self.base_loss(logits, target["label"])
            if loss.shape != target["label"].shape:
                raise ValueError(
                    f"base_loss={self.base_loss!r} must return one loss a row, shape "
                    f"{tuple(target['label'].shape)}, found {tuple(loss.shape)}. torch's own "
                    "losses do so with reduction='none'."
                )
        if self.alpha > 0:
            log_proba = torch.log_softmax(logits, dim=1)
            loss = loss - self.alpha * (target["surrogate"] * log_proba).sum(dim=1)
        return (target["weight"] * loss).mean()

    def _check_proba(self, output: Any) -> None:
        """Refuse logits, or their log-softmax, where probabilities were announced."""
        proba = (output[0] if isinstance(output, tuple) else output).detach().float()
        row = proba[0] if proba.min() >= 0 else proba[proba.min(dim=1).values.argmin()]
        if proba.min() < 0 or (proba.sum(dim=1) - 1).abs().max() > _NO_PROBA:
            raise ValueError(
                "target: its module returns no probabilities, as a net without a criterion of its "
                f"own is taken to (skorch's default is NLLLoss): a row is {row.tolist()[:10]}. "
                "Give the net criterion=torch.nn.CrossEntropyLoss if these are logits, or end its "
                "module in a softmax."
            )
        self.checked_ = True

    def logits(self, output: Any, *, corrected: bool = True) -> Tensor:
        """Return a module's output as logits; of several outputs the first is meant.

        Parameters
        ----------
        output : Tensor of shape (n, n_classes), or a tuple that starts with it
            What the module returned.
        corrected : bool, default=True
            Whether they are for the class prior of the training rows or, without it, for the
            uniform one.  The two are the same where no `log_prior` is given.

        Returns
        -------
        logits : Tensor of shape (n, n_classes)
        """
        first: Tensor = output[0] if isinstance(output, tuple) else output
        logits = first.float().clamp_min(_TINY).log() if self.outputs == "proba" else first.float()
        return logits + self.log_prior if corrected and self.log_prior is not None else logits


class RenewSurrogate(Callback):
    """Renew the surrogate rows from what the net predicts now, after an epoch.

    Parameters
    ----------
    renew : callable
        Takes log f(x) of the training rows, returns Q and a dict for the history.
    X : array-like
        Training inputs, as the net reads them.
    surrogate : ndarray of shape (n_samples, n_classes)
        The rows that the loss reads; overwritten in place.
    warmup : int
        Epochs before the first renewal.
    every : int
        Epochs between renewals.
    """

    def __init__(
        self,
        renew: Renewal,
        X: Any,
        surrogate: FloatArray,
        warmup: int,
        every: int,
    ) -> None:
        self.renew = renew
        self.X = X
        self.surrogate = surrogate
        self.warmup = warmup
        self.every = every

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note which epoch will be the last."""
        self.last_ = len(net.history) + net.max_epochs

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Renew when it is time, except after the last epoch, when nobody would learn from it."""
        epoch = len(net.history)
        if epoch < self.warmup or (epoch - self.warmup) % self.every or epoch == self.last_:
            return
        for key, value in self.update(net).items():
            net.history.record(key, value)

    def update(self, net: Any) -> dict[str, float]:
        """Renew the rows from the net as it is, and give what the history should hold of it."""
        before = self.surrogate.argmax(axis=1)
        # One matrix for all: log f(x) takes the place of the old rows, the new ones that of log f.
        log_proba = log_probabilities(net, self.X, corrected=True, out=self.surrogate)
        rows, facts = self.renew(log_proba)
        moved = np.mean(rows.argmax(axis=1) != before)
        if rows is not self.surrogate:
            self.surrogate[:] = rows
        return {**facts, "labels_moved": float(moved)}


def log_probabilities(
    net: NeuralNetClassifier,
    X: Any,
    *,
    corrected: bool,
    normalize: bool = True,
    out: FloatArray | None = None,
) -> FloatArray:
    """Log-probabilities of a net that trains by `DistillationLoss`, without dropout and gradients.

    Parameters
    ----------
    net : NeuralNetClassifier
        Initialized net.
    X : array-like of shape (n_samples, ...)
        Inputs as the net reads them.
    corrected : bool
        True for the class prior of the training rows, False for the uniform one.
    normalize : bool, default=True
        Whether probabilities of a row sum to 1; without it their logarithms are off by a constant
        a row, for callers that normalize what they make of them.
    out : ndarray of shape (n_samples, n_classes), default=None
        Where to write; None takes a new array.

    Returns
    -------
    log_proba : ndarray of shape (n_samples, n_classes), dtype float32
        `out` where it was given.

    Raises
    ------
    ValueError
        If an output is NaN or infinite, or rows are left out.
    """
    log_proba: FloatArray = np.empty((0, 0), dtype=np.float32) if out is None else out
    done = bad = 0
    for output in _outputs(net, X):
        part = net.criterion_.logits(output, corrected=corrected)
        part = torch.log_softmax(part, dim=1) if normalize else part
        if not done and out is None:  # one array for all: small ones would stay behind in memory
            log_proba = np.empty((get_len(X), part.shape[1]), dtype=np.float32)
        log_proba[done : done + len(part)] = part.cpu().numpy()
        done += len(part)
        if not torch.isfinite(part.sum()):  # in half the time of asking every entry
            bad += int((~torch.isfinite(part).all(dim=1)).sum())
    if done != get_len(X):
        raise ValueError(
            f"target: its iterator_valid gave {done} of {get_len(X)} rows. It has to give each "
            "row once, in order: without drop_last and sampler."
        )
    if bad:
        raise ValueError(
            f"target: its outputs for {bad} of {len(log_proba)} rows are NaN or infinite. Lower "
            f"its learning rate (lr={net.lr}), or scale X."
        )
    return log_proba


def _outputs(net: NeuralNetClassifier, X: Any) -> Iterator[Any]:
    """Give the outputs batch by batch, and say what to do where memory is short."""
    batches = net.get_iterator(net.get_dataset(X), training=False)
    if isinstance(batches, DataLoader) and batches.generator is None:
        batches.generator = torch.Generator()  # it draws, and not from the global one then
    try:
        for batch in batches:
            yield to_device(net.evaluation_step(batch, training=False), "cpu")
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError(
            f"target: device={net.device!r} is out of memory when it predicts: {error}. Lower the "
            f"net's batch_size={net.batch_size} or its iterator_valid__batch_size."
        ) from error


def _prepared(
    base_loss: nn.Module | None, class_counts: FloatArray, n_samples: int
) -> nn.Module | None:
    """Copy the user's loss, and tell it the sizes of the classes if it asks for them."""
    copy = deepcopy(base_loss)
    if isinstance(copy, SampleLoss):
        if copy.needs_index:
            raise ValueError(
                f"base_loss={copy!r} keeps a memory of each sample, which the target's loss "
                "cannot; use it in an auxiliary."
            )
        copy.prepare(torch.as_tensor(class_counts), n_samples)
    return copy


def _train(
    net: NeuralNetClassifier,
    X: Any,
    target: dict[str, Any],
    renewal: RenewSurrogate | None,
    progress: EpochProgress,
    keeper: TargetKeeper | None,
) -> None:
    """Train as ``net.fit`` does, with our callbacks besides.

    A net that is initialized already is trained further, as ``net.partial_fit`` does.
    """
    if not net.initialized_:
        net.initialize()
    module = getattr(net.module_, "_orig_mod", net.module_)  # as it was before torch.compile
    if isinstance(module, TabularNet) and module.autocast == "float16":
        check_scales(type(net))
    score_by_labels(net)
    own_callbacks = list(net.callbacks_)
    if renewal is not None:  # first, so that the others find its figures in the history
        net.callbacks_.insert(0, (f"{_OURS}renewal", renewal))
    net.callbacks_.insert(0, (f"{_OURS}loss_epochs", LossEpochs()))
    net.callbacks_.append((f"{_OURS}progress", progress))
    if keeper is not None:
        net.callbacks_.insert(0, (f"{_OURS}opening", EpochOpening(keeper)))
        net.callbacks_.append((f"{_OURS}keeper", keeper))
    net.notify("on_train_begin", X=X, y=target)
    n_done = 0 if keeper is None else keeper.restore(net, renewal)
    progress.progress_.skip(n_done)
    # What other modules compute, and how well that divides among threads, is not for us to say.
    own = isinstance(net.module_, TabularNet) and net.batch_size > 0
    with few_threads(net, net.batch_size) if own else nullcontext(), ended_by_callbacks():
        net.fit_loop(X, target, epochs=net.max_epochs - n_done)
    net.notify("on_train_end", X=X, y=target)
    net.callbacks_ = own_callbacks  # ours hold the training data, and are done
    vars(net).pop("classes_inferred_", None)  # as skorch finds them, they are all of y


def fit_target(
    net: NeuralNetClassifier,
    X: Any,
    y: npt.NDArray[np.integer[Any]],
    surrogate: FloatArray,
    *,
    sample_weight: FloatArray | None,
    alpha: float,
    base_loss: nn.Module | None,
    log_prior: FloatArray | None,
    renew: Renewal,
    warmup: int,
    every: int,
    seed: int,
    verbose: int = 0,
    keeper: TargetKeeper | None = None,
    further: bool = False,
) -> NeuralNetClassifier:
    """Train a clone of `net` on labels and surrogate labels that are renewed as it learns.

    Parameters
    ----------
    net : NeuralNetClassifier
        Untouched unless `further`; its criterion tells whether its module returns logits or
        probabilities.
    X : ndarray of shape (n_samples, n_features), dtype float32
        Training inputs.
    y : ndarray of shape (n_samples,), dtype int64
        Label codes.
    surrogate : ndarray of shape (n_samples, n_classes), dtype float32
        First surrogate rows; overwritten at each renewal.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of mean 1.
    alpha, base_loss, log_prior
        See `DistillationLoss`.
    renew : callable
        See `RenewSurrogate`.
    warmup, every : int
        Epochs before the first renewal, and between renewals.
    seed : int
        Seeds the initial weights and the batches; the global generators are left alone.
    verbose : int, default=0
        Above 0, the epochs are counted aloud.
    keeper : TargetKeeper, default=None
        Keeps the net after each epoch, and gives back what an interrupted training had reached.
    further : bool, default=False
        Whether `net` is a target fitted before, which is itself trained for `max_epochs` more, by
        the loss that it has.

    Returns
    -------
    net : NeuralNetClassifier
        Fitted clone, or `net` itself.
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    counts = np.bincount(y, weight, surrogate.shape[1]).astype(np.float64)
    if further:
        fitted = net
    else:
        base_loss = _prepared(base_loss, counts, len(y))
        criterion = partial(DistillationLoss, alpha, base_loss, log_prior, module_outputs(net))
        fitted = prepare_net(net, criterion, surrogate.shape[1])
    renewal = RenewSurrogate(renew, X, surrogate, warmup, every) if alpha > 0 else None
    target = {
        "label": np.asarray(y, dtype=np.int64),
        "surrogate": surrogate,
        "weight": weight.astype(np.float32),
    }
    with seeded(seed):
        try:
            _train(fitted, X, target, renewal, EpochProgress(verbose), keeper)
        except RuntimeError as error:  # torch's, of shapes, dtypes, devices and memory
            advice = (
                f" Lower its batch_size={net.batch_size}."
                if isinstance(error, torch.cuda.OutOfMemoryError)
                else ""
            )
            raise ValueError(
                f"target={type(net).__name__} failed in training on inputs of shape {X.shape} and "
                f"dtype {X.dtype}, {surrogate.shape[1]} classes: {type(error).__name__}: {error}."
                f"{advice}"
            ) from error
    return fitted
