"""Argument checks of the transport: each message names the argument and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np

from ._kernel import float64, namespace

Array = Any

# KL weights beyond which class shares differ from those asked for, or labels from unconstrained
# ones, by less than float64 can tell.
_HARD, _DROPPED = 1e15, 1e-200


def check_scores(scores: Array) -> Array:
    """Return `scores` in float32 or float64, two-dimensional and not empty.

    A tensor in the memory of the processor comes back as the numpy array that shares it.
    """
    xp = namespace(scores)
    if xp is not np:
        scores = scores.detach()
        if scores.dtype not in (xp.float32, xp.float64):
            scores = scores.to(xp.float32)
        scores = scores.numpy() if scores.device.type == "cpu" else scores
    else:
        scores = np.asarray(scores)
        if scores.dtype not in (np.float32, np.float64):
            scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            "scores must have shape (n_samples, n_classes) and not be empty, found "
            f"{tuple(scores.shape)}."
        )
    return scores


def check_out(out: Array | None, scores: Array, given: Array) -> tuple[Array, Array]:
    """Return where results go, as the caller sees it and as it is worked on.

    Parameters
    ----------
    out : array or tensor or None
        What the caller gave; None asks for memory of its own.
    scores : array or tensor of shape (n_samples, n_classes)
        Checked scores.
    given : array or tensor
        The scores as the caller gave them.
    """
    if out is None:
        target = namespace(scores).empty_like(scores)
        shared = namespace(given) is namespace(scores)
        return (target if shared else namespace(given).from_numpy(target)), target
    if str(out.dtype).removeprefix("torch.") not in ("float32", "float64"):
        raise ValueError(f"out must be float32 or float64, found {out.dtype}.")
    if tuple(out.shape) != tuple(scores.shape):
        raise ValueError(
            f"out must have the shape of scores, {tuple(scores.shape)}, found {tuple(out.shape)}."
        )
    target = check_scores(out)
    return out, scores if _same_memory(target, scores) else target


def _same_memory(first: Array, second: Array) -> bool:
    if first.dtype != second.dtype:
        return False
    if namespace(first) is np:
        return bool(first.ctypes.data == second.ctypes.data and first.strides == second.strides)
    return bool(first.data_ptr() == second.data_ptr() and first.stride() == second.stride())


def check_number(name: str, value: Any, kind: Any) -> None:
    """Check that `value` is a positive number of the abstract type `kind`."""
    if not isinstance(value, kind) or isinstance(value, bool) or not 0 < value < np.inf:
        wanted = "an integer" if kind is Integral else "a finite number"
        raise ValueError(f"{name} must be {wanted} > 0, found {value!r}.")


def check_relaxation(relaxation: float | None) -> float:
    """Return the KL weight of the class constraint, infinity for the hard one.

    Weights are taken for what float64 cannot tell them from: infinity, or 0.
    """
    if relaxation is None:
        return np.inf
    if not isinstance(relaxation, Real) or not relaxation >= 0:
        raise ValueError(f"relaxation must be None or a number >= 0, found {relaxation!r}.")
    if relaxation > _HARD:
        return np.inf
    return float(relaxation) if relaxation > _DROPPED else 0.0


def check_potentials(name: str, potentials: Array | None, n_classes: int, like: Array) -> Array:
    """Return class potentials in float64, zeros where there are none."""
    values = float64(np.zeros(n_classes) if potentials is None else potentials, like)
    if tuple(values.shape) != (n_classes,) or not bool(namespace(values).isfinite(values).all()):
        raise ValueError(f"{name} must be {n_classes} finite numbers, found {potentials!r}.")
    return values


def check_marginal(class_marginal: Array, n_classes: int, like: Array) -> Array:
    """Return the class shares in float64, positive and of sum 1."""
    marginal = float64(class_marginal, like)
    if tuple(marginal.shape) != (n_classes,):
        raise ValueError(
            f"class_marginal must have shape ({n_classes},), one share for each column of scores, "
            f"found {tuple(marginal.shape)}."
        )
    total = float(marginal.sum())
    if not bool((marginal > 0).all()) or not np.isfinite(total):
        raise ValueError(
            "class_marginal must be positive and finite: a class of share 0 would vanish from the "
            f"labels. Found {class_marginal!r}; see floor_marginal."
        )
    if abs(total - 1) > 1e-6:
        raise ValueError(
            f"class_marginal must sum to 1, found {total:.8g}. Divide class totals by their sum."
        )
    return marginal / total


def check_weight(sample_weight: Array | None, n_samples: int, like: Array) -> Array | None:
    """Return the masses of the rows in float64, scaled to mean 1."""
    if sample_weight is None:
        return None
    weight = _check_masses(sample_weight, n_samples, like)
    total = float(weight.sum())
    if not total > 0:
        raise ValueError("sample_weight must be finite and >= 0 with a positive sum, found zeros.")
    return weight * (n_samples / total)


def _check_masses(sample_weight: Array, n_samples: int, like: Array) -> Array:
    weight = float64(sample_weight, like)
    if tuple(weight.shape) != (n_samples,):
        raise ValueError(
            f"sample_weight must have shape ({n_samples},), found {tuple(weight.shape)}."
        )
    if not bool((weight >= 0).all()) or not float(weight.sum()) < np.inf:
        raise ValueError(
            "sample_weight must be finite and >= 0, found values between "
            f"{float(weight.min())} and {float(weight.max())}."
        )
    return weight


def check_blocks(
    blocks: Callable[[], Iterable[Any]], n_classes: int
) -> Iterator[tuple[Array, Array | None]]:
    """Yield scores and weights of one pass as float arrays, without the rows of weight 0."""
    for item in blocks():
        scores, weight = item if isinstance(item, tuple) else (item, None)
        if scores.ndim != 2 or scores.shape[1] != n_classes:
            raise ValueError(
                f"blocks must yield scores of shape (n_rows, {n_classes}), found "
                f"{tuple(scores.shape)}."
            )
        if not len(scores):
            continue
        scores = check_scores(scores if namespace(scores) is np else scores.cpu())
        if weight is not None:
            weight = _check_masses(weight, len(scores), scores)
            if not weight.all():
                scores, weight = scores[weight > 0], weight[weight > 0]
        yield scores, weight
