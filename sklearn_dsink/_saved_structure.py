"""What a saved structure may do with the types that it names.

skops vouches for names alone. A forged file could use a trusted name as no saved model does: call
a function where a list is built, or leave one where Python or numpy look for an object's method.
Here each node of the structure is held to what saving writes, before anything is built.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection
from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np
from skorch import NeuralNet
from torch import nn

#: Nodes that call the type that they name, by what it has to be.
_CONTAINERS: dict[str, type | tuple[type, ...]] = {
    "DictNode": dict,
    "ListNode": list,
    "NdArrayNode": (np.ndarray, np.generic),
    "RandomGeneratorNode": np.random.Generator,
    "RandomStateNode": np.random.RandomState,
    "SetNode": set,
    "TupleNode": tuple,
}
#: Nodes that build one thing only, or nothing.
_HARMLESS = {
    "BytearrayNode",
    "BytesNode",
    "DTypeNode",
    "DefaultDictNode",
    "FunctionNode",
    "MaskedArrayNode",
    "QuantileForestNode",
    "SliceNode",
    "SparseMatrixNode",
    "TreeNode",
    "TypeNode",
}
#: What these nodes read by name, asking what is no dict for its keys.
_BY_NAME = {
    "DefaultDictNode": ("main",),
    "PartialNode": ("kwds", "namespace"),
    "RandomGeneratorNode": ("bit_generator", "seed_seq"),
}
#: Packages whose types are built by a call, with arguments that are values.
_VALUES = {"datetime", "pathlib", "polars", "zoneinfo"}
# The modules of scikit-learn's compiled losses; release 1.6 names them without the packages.
_LOSSES = {"_loss", "sklearn._loss._loss", "sklearn.linear_model._sgd_fast"}
_NOT_CALLABLE = {"JsonNode", "NdArrayNode", *_CONTAINERS}


def check_structure(structure: bytes, trusted: Collection[str]) -> None:
    """Raise ValueError if a structure holds what saving a model does not write.

    Parameters
    ----------
    structure : bytes
        A skops file, of whose types all are trusted: their modules are imported.
    trusted : collection of str
        Types that the user vouches for. They may be called in more ways.
    """
    # An object that is there twice is built from the place that comes first, whatever the others
    # say. These therefore have to say the same, but for names of files, which hold no types.
    known: dict[Any, dict[str, Any]] = {}

    def check(node: dict[str, Any]) -> dict[str, Any]:
        if "__loader__" in node:
            _check_node(node, trusted)
            node.pop("file", None)
            key = node.pop("__id__", None)
            if key and known.setdefault(key, node) != node:
                raise ValueError(f"two objects that differ, of {_name(node)}, pass for one")
        return node

    with zipfile.ZipFile(io.BytesIO(structure)) as archive:
        json.loads(archive.read("schema.json"), object_hook=check)


def hides_a_method(kind: type, name: str) -> bool:
    """Say whether an attribute of an instance would be taken for a method of its type."""
    return is_special(name) or callable(getattr(kind, name, None))


def is_special(name: Any) -> bool:
    """Say whether it is a name by which Python and its libraries look for what an object can."""
    return isinstance(name, str) and name.startswith("__") and name.endswith("__")


def _check_node(node: dict[str, Any], trusted: Collection[str]) -> None:
    loader, name = node["__loader__"], _name(node)
    for part in _BY_NAME.get(loader, ()):
        read = node["content"].get(part)  # not every release of skops writes all
        if read and read["__loader__"] not in {"DictNode", "JsonNode"}:
            raise ValueError(f"{name} has a {part} that is no dict")
    if loader in _CONTAINERS:
        kind = _named(node)
        right = isinstance(kind, type) and issubclass(kind, _CONTAINERS[loader])
        if loader == "DictNode":
            keys = node["key_types"]["content"]
            right = right and all(_name(key) == "builtins.str" for key in keys)
            _check_special_names(node)
    elif loader == "JsonNode":
        right = not node["content"].lstrip().startswith(("{", "["))
    elif loader == "ObjectNode":
        right = _is_an_object(node)
    elif loader == "PartialNode":
        func = node["content"]["func"]
        right = _name(func) in trusted or _only_computes(func)
    elif loader == "ConstructorFromReduceNode":
        right = name in trusted or node["__module__"].partition(".")[0] in _VALUES
    elif loader == "MethodNode":  # which skops before 0.12 did not name
        right = f"{_name(node['content']['obj'])}.{node['content']['func']}" in trusted
    elif loader == "OperatorFuncNode":
        right = name in trusted
    elif loader == "LossNode":
        right = node["__module__"] in _LOSSES
    else:
        right = loader in _HARMLESS
    if not right:
        raise ValueError(f"no model is saved with {name} as {loader}")


def _is_an_object(node: dict[str, Any]) -> bool:
    kind, state = _named(node), node.get("content") or {"__loader__": "JsonNode"}
    # Nets are saved as SavedNet. Their own way to read a state unpickles a part of it.
    if not isinstance(kind, type) or issubclass(kind, NeuralNet):
        return False
    if state["__loader__"] == "DictNode":
        for name, value in state["content"].items():
            if value["__loader__"] not in _NOT_CALLABLE and hides_a_method(kind, name):
                raise ValueError(f"{_name(node)} has an attribute {name!r} in place of its method")
        return _name(state) == "builtins.dict"
    # Compiled types, such as trees of neighbours, read a tuple. Others would take it for a dict.
    reads = getattr(kind, "__setstate__", None)
    compiled = reads is not None and not isinstance(reads, FunctionType)
    return state["__loader__"] == "JsonNode" or (state["__loader__"] == "TupleNode" and compiled)


def _check_special_names(node: dict[str, Any]) -> None:
    for key, value in node["content"].items():
        if is_special(key) and value["__loader__"] != "JsonNode":
            raise ValueError(f"{_name(node)} has a special name, {key!r}, for a {_name(value)}")


def _only_computes(func: dict[str, Any]) -> bool:
    if func["__loader__"] not in {"FunctionNode", "TypeNode"}:
        return False
    part = _named(func)
    if isinstance(part, type):
        return issubclass(part, nn.Module)
    return isinstance(part, FunctionType | np.ufunc)


def _name(node: dict[str, Any]) -> str:
    return f"{node['__module__']}.{node['__class__']}"


def _named(node: dict[str, Any]) -> Any:
    return getattr(import_module(node["__module__"]), node["__class__"], None)
