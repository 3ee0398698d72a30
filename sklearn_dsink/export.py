"""The target alone as an ONNX file, for places where no Python runs."""

from __future__ import annotations

import copy
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._arrays import FloatArray
from ._files import replacing
from ._quiet import without_warnings
from .classifier import DSinkClassifier
from .nets import TabularNet
from .target import DistillationLoss

__all__ = ["export_onnx"]


class _Probabilities(nn.Module):
    """A target's module and what the classifier does with its outputs, in one module."""

    shift: Tensor

    def __init__(self, module: nn.Module, outputs: str, shift: FloatArray) -> None:
        super().__init__()
        self.module = module
        self.loss = DistillationLoss(0.0, None, outputs=outputs)  # reads outputs as logits
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))

    def forward(self, X: Tensor) -> Tensor:
        logits = self.loss.logits(self.module(X), corrected=False)
        return torch.softmax(logits + self.shift, dim=1)


def export_onnx(model: DSinkClassifier, path: str | os.PathLike[str]) -> Path:
    """Write the target of a fitted classifier to an ONNX file.

    The file's ``probabilities`` are those of ``predict_proba`` with ``combine=False``, under the
    `class_prior` that the classifier has when it is exported.  Auxiliaries and encoder stay
    behind.

    Parameters
    ----------
    model : DSinkClassifier
        Fitted.
    path : path-like
        The file; replaced in one step if it is there.

    Returns
    -------
    path : Path
        The file written.  It has one input, ``X``, float32 of shape (n_samples,
        ``encoder_.n_features_out_``), and one output, ``probabilities``, float32 of shape
        (n_samples, n_classes).  Its metadata hold ``classes``, the labels of the columns as JSON.

    Raises
    ------
    TypeError
        If `model` is no DSinkClassifier.
    NotFittedError
        If it is not fitted.
    ValueError
        If torch cannot write the target's module as ONNX.
    ImportError
        If onnx or onnxscript is not installed (the extra ``onnx``).

    Notes
    -----
    The file computes in float32, the default net's mixed precision left out.

    ``X`` is what ``model.encoder_.transform`` gives.  For a numeric array without gaps that
    float32 holds well, such as embeddings, that is the array itself as float32; tables with
    categories, dates or missing values have to be encoded first, and narrow sparse matrices,
    which stay sparse, made dense.

    Examples
    --------
    >>> path = export_onnx(clf, "target.onnx")  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession(path)  # doctest: +SKIP
    >>> session.run(None, {"X": clf.encoder_.transform(X)})  # doctest: +SKIP
    """
    if not isinstance(model, DSinkClassifier):
        raise TypeError(
            f"model must be a DSinkClassifier, found {type(model).__name__}. Of a Pipeline or a "
            "search, export the classifier in it: pipeline[-1], search.best_estimator_."
        )
    check_is_fitted(model)
    net = model.target_
    # As it was before torch.compile.
    module = copy.deepcopy(getattr(net.module_, "_orig_mod", net.module_))
    if isinstance(module, TabularNet):
        module.autocast = None  # no operation of ONNX takes two formats at once
    shift = model._log_shift() + model._log_prior()
    labels = np.asarray(model.classes_)
    classes = json.dumps((labels.astype(str) if labels.dtype.kind in "mM" else labels).tolist())
    proba = _Probabilities(module, net.criterion_.outputs, shift).cpu().eval()
    example = torch.zeros(2, model.encoder_.n_features_out_)
    try:
        program = _as_onnx(proba, example)
    except ImportError as error:
        raise ImportError(
            "Writing ONNX needs onnx and onnxscript: pip install onnx onnxscript."
        ) from error
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise ValueError(
            f"target: torch cannot write its {type(module).__name__} as ONNX: {error}"
        ) from error
    program.model.metadata_props["classes"] = classes
    with replacing(path) as temporary:
        program.save(temporary, external_data=False)
    return Path(path)


def _as_onnx(module: nn.Module, example: Tensor) -> Any:
    # torch says of itself that it changes, and of operators of torchvision that they are missing.
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with without_warnings(".*LeafSpec", FutureWarning):
            return torch.onnx.export(
                module,
                (example,),
                input_names=["X"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("n_samples")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        log.setLevel(level)
