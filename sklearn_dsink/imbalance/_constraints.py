"""Which parameters the net-based classifiers share, and what is allowed for them."""

from __future__ import annotations

from typing import Any

from .._base_net import BaseNetClassifier

# Not `class_weight`: these methods balance the classes themselves, by weighted counts, and would
# undo it. Weights of rows are frequencies to them.
NET_CONSTRAINTS: dict[str, list[Any]] = {
    name: allowed
    for name, allowed in BaseNetClassifier._parameter_constraints.items()
    if name != "class_weight"
}
