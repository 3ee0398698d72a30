"""A table is encoded once, and not again by every fit of an auxiliary.

To tell categories, dates and texts apart takes longer than to grow a forest on what comes out, and
so does to project wide sparse rows; and an auxiliary is fitted dozens of times.  Our encoder does
not look at labels, so that rows which a fit leaves out may take part in it: pipelines that begin
with it share one, and their fits get its answers; so does the target.
"""

from __future__ import annotations

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing

from ._arrays import FloatArray
from ._columns import is_frame
from .auxiliaries import is_pipeline
from .inputs import TabularEncoder, is_projected


def reads_encoded(estimator: Any, X: Any) -> bool:
    """Whether X takes long to encode, and the user's classifier is a pipeline that does so first.

    Encoders that were given a seed, or told to hand on data frames, are left to do so.
    """
    steps = estimator.steps if is_pipeline(estimator) else []
    if len(steps) < 2 or type(steps[0][1]) is not TabularEncoder:
        return False
    encoder = steps[0][1]
    output = getattr(encoder, "_sklearn_output_config", {}).get("transform", "default")
    is_ours = encoder.random_state is None and output == "default"
    return is_ours and (is_frame(X) or is_projected(X))


class Encoded(NamedTuple):
    """A fitted encoder, and what it makes of the training rows."""

    encoder: TabularEncoder
    values: Any


def encode(X: Any, sample_weight: FloatArray | None, **parameters: Any) -> Encoded:
    """Fit an encoder to the rows that count, and encode all.

    Parameters
    ----------
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Training rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Rows of weight 0 do not count.
    **parameters : dict
        Of the encoder.

    Returns
    -------
    encoded : Encoded

    Raises
    ------
    ValueError
        If a column of a frame cannot be encoded.
    """
    encoder = TabularEncoder(**parameters)
    try:
        if sample_weight is None or np.all(sample_weight > 0):
            return Encoded(encoder, encoder.fit_transform(X))
        encoder.fit(_safe_indexing(X, np.flatnonzero(sample_weight)))
        return Encoded(encoder, encoder.transform(X))
    except Exception as error:
        if not is_frame(X):
            raise
        raise ValueError(
            f"X has columns that TabularEncoder cannot turn into numbers: {type(error).__name__}: "
            f"{error}. Encode or drop them first."
        ) from error


def with_encoder(encoder: TabularEncoder, template: Any, model: Any) -> Any:
    """Put a fitted model behind its encoder again, as in the template."""
    steps = model.steps if is_pipeline(model) else [("classifier", model)]
    whole = copy(template)
    whole.steps = [(template.steps[0][0], encoder), *steps]
    return whole
