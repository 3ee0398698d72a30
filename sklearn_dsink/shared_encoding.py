"""A table is encoded once, and not again by every fit of an auxiliary.

To tell categories, dates and texts apart takes longer than to grow a forest on what comes out, and
an auxiliary is fitted dozens of times.  Our encoder does not look at labels, so that rows which a
fit leaves out may take part in it: pipelines that begin with it share one, and their fits get its
answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import _safe_indexing

from .auxiliaries import is_pipeline
from .inputs import TabularEncoder, is_frame


def reads_encoded(template: Any, X: Any) -> bool:
    """Whether X is a table, and the classifier a pipeline that encodes it first."""
    steps = template.steps if is_pipeline(template) else []
    return is_frame(X) and len(steps) > 1 and type(steps[0][1]) is TabularEncoder


def fit_shared_encoder(X: Any, rows: npt.NDArray[np.intp]) -> TabularEncoder:
    """Fit an encoder for all auxiliaries; its parameters are about sparse matrices only.

    Parameters
    ----------
    X : dataframe of shape (n_samples, n_features)
        Training rows.
    rows : ndarray of int
        Sorted numbers of those that count.

    Returns
    -------
    encoder : TabularEncoder
        Fitted.

    Raises
    ------
    ValueError
        If a column cannot be encoded.
    """
    some = X if len(rows) == X.shape[0] else _safe_indexing(X, rows)
    try:
        return TabularEncoder().fit(some)
    except Exception as error:
        raise ValueError(
            f"X has columns that TabularEncoder cannot turn into numbers: {type(error).__name__}: "
            f"{error}. Encode or drop them first."
        ) from error


def read_by_each(encoders: Mapping[str, TabularEncoder | None], X: Any) -> dict[str, Any]:
    """Give X as each of several classifiers reads it, by name; a shared encoder is asked once."""
    distinct = {id(encoder): encoder for encoder in encoders.values()}
    read = {key: X if each is None else each.transform(X) for key, each in distinct.items()}
    return {name: read[id(encoder)] for name, encoder in encoders.items()}


def after_encoder(encoder: TabularEncoder | None, template: Any) -> Any:
    """Give what is left to be fitted."""
    return template if encoder is None else template[1:]


def with_encoder(encoder: TabularEncoder | None, template: Any, model: Any) -> Any:
    """Put a fitted model behind its encoder again, as in the template."""
    if encoder is None:
        return model
    steps = model.steps if is_pipeline(model) else [("classifier", model)]
    return type(template)([(template.steps[0][0], encoder), *steps])
