"""States of a net's parts: what its modules know, and how its training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def steppers(net: Any) -> list[str]:
    """Name what takes the steps: the optimizers and, for float16, the scale of the loss."""
    scaled = getattr(net, "grad_scaler_", None) is not None
    return [*net._optimizers, "grad_scaler"] if scaled else net._optimizers


def states(net: Any, names: list[str]) -> dict[str, Any]:
    """Give the states of these parts of an initialized net, by name."""
    return {name: getattr(net, f"{name}_").state_dict() for name in names}


def renew_optimizers(net: Any) -> None:
    """Make the optimizers of a copied net anew, in their states: copies of LBFGS lack a part."""
    kept = states(net, net._optimizers)
    net.initialize_optimizer()
    load_states(net, kept)


def load_states(net: Any, states: Mapping[str, Any]) -> None:
    """Put states back into the parts that they are of."""
    for name, state in states.items():
        getattr(net, f"{name}_").load_state_dict(state)
