"""Two stages: a plainly trained net, then its classifier alone on frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, WeightedRandomSampler

from .._base_net import BaseNetClassifier
from .._interrupts import train_net
from .._threads import few_threads
from ..losses import CrossEntropy, SampleLoss
from ..nets import CosineSchedule, plain_history, softmax_of_logits


class DecoupledNetClassifier(BaseNetClassifier):
    """Base of the classifiers that work on the frozen features of a plainly trained net."""

    def _make_loss(self) -> SampleLoss:
        return CrossEntropy()

    def _second_stage(
        self,
        head: nn.Module,
        features: npt.NDArray[np.float32],
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
    ) -> nn.Module:
        """Return the classifier that replaces the net's own."""
        raise NotImplementedError

    def _fit_net(
        self,
        X: Any,
        codes: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
        seed: int,
        **schedule: Any,
    ) -> None:
        super()._fit_net(X, codes, weight, seed, **schedule)
        module = self.net_.module_
        with few_threads(self.net_, self.net_.batch_size):
            head, module.head = module.head, nn.Identity()
            # Without its classifier the net's answer is the features, dropout off.
            features = self.net_.forward(X).cpu().numpy()
            module.head = self._second_stage(head, features, codes, weight)


def class_aware_weights(
    codes: npt.NDArray[np.int64], weight: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """Chance of each row to be drawn: equal over classes, by weight within a class.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Labels 0..n_classes-1.
    weight : ndarray of shape (n_samples,)
        Sample weights.

    Returns
    -------
    chance : ndarray of shape (n_samples,)
        Sums to 1.
    """
    total = np.bincount(codes, weights=weight)
    return weight / total[codes] / np.count_nonzero(total)


def class_aware_loader(
    dataset: Any, batch_size: int, *, chance: npt.NDArray[np.float64]
) -> DataLoader[Any]:
    """Loader whose batches are drawn with replacement, whole batches at a time."""
    sampler = WeightedRandomSampler(torch.as_tensor(chance), len(chance))  # type: ignore[arg-type]
    return DataLoader(
        dataset, sampler=BatchSampler(sampler, batch_size, drop_last=False), batch_size=None
    )


def train_head(
    head: nn.Module,
    features: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float32],
    *,
    net: NeuralNetClassifier,
    max_epochs: int,
    lr: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Train a classifier in place on fixed features, every class drawn equally often.

    Parameters
    ----------
    head : torch.nn.Module
        Gives logits from features.
    features : ndarray of shape (n_samples, n_hidden)
        What the frozen net makes of the training rows.
    codes : ndarray of shape (n_samples,)
        Labels 0..n_classes-1.
    weight : ndarray of shape (n_samples,)
        Sample weights; a row's chance to be drawn from its class.
    net : skorch.NeuralNetClassifier
        The first stage, for its batch size, device and verbosity.
    max_epochs, lr, weight_decay
        Of the second stage.

    Returns
    -------
    history : list of dict
        One per epoch.
    """
    options = {} if net.verbose else {"callbacks__print_log": None}
    trainer = NeuralNetClassifier(
        head,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=weight_decay,
        lr=lr,
        max_epochs=max_epochs,
        iterator_train=class_aware_loader,
        iterator_train__chance=class_aware_weights(codes, weight),
        batch_size=net.batch_size,
        train_split=None,
        predict_nonlinearity=softmax_of_logits,
        classes=list(range(int(codes.max()) + 1)),
        callbacks=[("schedule", CosineSchedule())],
        callbacks__valid_acc=None,
        device=net.device,
        verbose=net.verbose,
        **options,
    )
    train_net(trainer.initialize(), features, codes)
    return plain_history(trainer)
