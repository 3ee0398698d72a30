"""Save a fitted model to one file that cannot bring code to run when it is loaded.

A pickle (or a joblib file) is a program: whoever loads it runs what its author put in. Here the
model's structure is a skops file, which names each type that loading would build and refuses those
that nobody vouched for, and every tensor is in a safetensors file, which holds numbers only. What
is vouched for is built as saving builds it, and not called in other ways.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.history import History

from ._files import replacing
from ._net_states import load_states, states, steppers
from ._quiet import without_warnings
from ._saved_pandas import SavedPandas, saved_form
from ._saved_structure import check_structure, hides_a_method, is_special
from ._trusted_types import TRUSTED_TYPES
from .nets import plain_history

__all__ = ["TRUSTED_TYPES", "load_model", "save_model"]

_FORMAT = "sklearn-dsink model"
_VERSION = 1
#: What predictions need of a net beside its modules, and its lists of these, which it makes anew.
_FITTED, _NAMES = {"classes_inferred_"}, {"_modules", "_criteria", "_optimizers"}
#: Parameters of a net that initializing it calls.
_CALLED = ("module", "criterion", "optimizer", "iterator_train", "iterator_valid", "dataset")
_HEADER, _STRUCTURE, _TENSORS = "format.json", "model.skops", "tensors.safetensors"


@dataclass
class SavedTensor:
    """Stands for a tensor in the saved structure.

    Attributes
    ----------
    key : str
        Its name among the saved tensors.
    """

    key: str


class SavedDict:
    """Stands for a dict with other keys than text, which the structure would write as text.

    Parameters
    ----------
    mapping : dict
        Of any kind, such as a defaultdict.
    """

    def __init__(self, mapping: dict[Any, Any]) -> None:
        self.empty = copy.copy(mapping)
        self.empty.clear()
        self.items = list(mapping.items())

    def built(self) -> dict[Any, Any]:
        """Return the dict again, once what it holds is built."""
        for key, value in self.items:  # a Counter's update would count them
            if is_special(key) and not isinstance(value, bool | int | float | str | None):
                raise LookupError(f"a dict has a special name, {key!r}, for a {type(value)}")
            self.empty[key] = value
        return self.empty


@dataclass
class SavedNet:
    """Stands for a fitted skorch net in the saved structure.

    Attributes
    ----------
    net_class : type
        Class of the net.
    params : dict
        Its parameters, from which its modules are built again.
    state : dict
        Names of the saved tensors, by module and by name in the module.
    history : list of dict
        An entry an epoch.
    fitted : dict
        Other fitted attributes that predictions need.
    steps : dict
        States of its optimizers, where it is to be trained further.
    """

    net_class: type[NeuralNet]
    params: dict[str, Any]
    state: dict[str, dict[str, str]]
    history: list[dict[str, Any]]
    fitted: dict[str, Any]
    steps: dict[str, Any]


def save_model(model: Any, path: str | os.PathLike[str]) -> Path:
    """Write a fitted model to one file.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~sklearn_dsink.DSinkClassifier`, or an estimator that holds one, such as
        a Pipeline.  With ``warm_start=True`` the state of the target's optimizer is kept too.
    path : path-like
        The file; replaced in one step if it is there.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    ValueError
        If the model holds something that has no safe form.
    ImportError
        If skops or safetensors is not installed (the extra ``cli``).

    Warns
    -----
    UserWarning
        If `load_model` would refuse the file for types that it names; see its `trusted`.

    See Also
    --------
    load_model : Read it back.

    Examples
    --------
    >>> save_model(clf, "model.dsink")  # doctest: +SKIP
    """
    unknown = write_model(model, path)
    if unknown:
        warnings.warn(
            f"{Path(path).name} holds types for which load_model will refuse it: "
            f"{', '.join(unknown)}. It is whole: look at these types, and if building them runs "
            f"no code, load it with trusted={(*unknown,)!r}.",
            stacklevel=2,
        )
    return Path(path)


def write_model(model: Any, path: str | os.PathLike[str]) -> list[str]:
    """Write a fitted model to one file, without a word on who could read it.

    Parameters
    ----------
    model : estimator
        As in :func:`save_model`.
    path : path-like
        As there.

    Returns
    -------
    unknown : list of str
        Types that :func:`load_model` would have to be told to trust; sorted.

    Raises
    ------
    ValueError
        If the model holds something that has no safe form.
    """
    import skops.io as sio
    from safetensors.torch import save
    from skops.io.exceptions import UnsupportedTypeException

    tensors: dict[str, torch.Tensor] = {}
    bare = _without_tensors(model, tensors)
    try:
        # Before 2.3 numpy takes the dtype of unpickled dates for one with notes of its own.
        with without_warnings("metadata on a dtype", UserWarning):
            structure = sio.dumps(bare)
    except UnsupportedTypeException as error:
        raise ValueError(f"The model cannot be saved: {error}") from error
    except RecursionError as error:
        raise ValueError(
            "The model cannot be saved: something in it holds itself, as skorch's Freezer, "
            "Unfreezer and Initializer do, or is nested too deeply."
        ) from error
    # Builds nothing, and takes the smaller part of the time that saving does.
    unknown = _unknown(sio.get_untrusted_types(data=structure))
    try:
        check_structure(structure, unknown)
    except ValueError as error:
        raise ValueError(f"The model cannot be saved: {error}.") from error
    header = {"format": _FORMAT, "version": _VERSION}
    with (
        replacing(path) as temporary,
        # Level 1 is much faster than the default, for a file that is somewhat larger.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        archive.writestr(_HEADER, json.dumps(header))
        archive.writestr(_STRUCTURE, structure)
        archive.writestr(_TENSORS, save(tensors))
    return unknown


def load_model(path: str | os.PathLike[str], *, trusted: tuple[str, ...] = ()) -> Any:
    """Read a model that :func:`save_model` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    trusted : tuple of str, default=()
        Types that you vouch for, beyond `TRUSTED_TYPES`: the full names of your own classes and
        functions. Do not copy them from an error message without looking: that is what keeps a
        stranger's file from running code.

    Returns
    -------
    model : estimator
        Predicts what the saved one does, and with ``warm_start=True`` is trained further as it is.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut short, is a folder or no model file, was written by a later version,
        holds types that are not trusted or uses them as no saved model does, or lacks weights of
        a net.

    Examples
    --------
    >>> clf = load_model("model.dsink")  # doctest: +SKIP
    """
    import skops.io as sio
    from safetensors.torch import load

    path = Path(path)
    structure, tensors = _read(path)
    with _named_if_damaged(path):
        names = sio.get_untrusted_types(data=structure)
    unknown = _unknown(names, trusted)
    if unknown:
        raise ValueError(
            f"{path.name} holds types that are not trusted: {', '.join(unknown)}. If you know "
            "them and the file's author, pass their names in `trusted`."
        )
    with _named_if_damaged(path):
        check_structure(structure, trusted)
        return _with_tensors(sio.loads(structure, trusted=names), load(tensors))


@contextmanager
def _named_if_damaged(path: Path) -> Iterator[None]:
    """Say of which file an error is; the readers of its parts raise many kinds."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{path.name} is damaged: {error}.") from error


def _unknown(names: list[str], trusted: tuple[str, ...] = ()) -> list[str]:
    return sorted({*names} - {*TRUSTED_TYPES} - {*trusted} - _own_parts({*names}))


def _read(path: Path) -> tuple[bytes, bytes]:
    """Give the two parts of a model file after checking that it is one, and whole."""
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give the model file itself, such as {path / 'model.dsink'}."
        )
    names = {_HEADER, _STRUCTURE, _TENSORS}
    parts, header = None, None
    with path.open("rb") as file, _named_if_damaged(path):
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                parts = {name: archive.read(name) for name in names & {*archive.namelist()}}
            header = json.loads(parts.get(_HEADER, "null"))
    if parts is None:
        raise ValueError(f"{path.name} is no model file of sklearn_dsink, or it is cut short.")
    if parts.keys() < names:
        raise ValueError(f"{path.name} is a zip file, but no model that sklearn_dsink saved.")
    facts = header if isinstance(header, dict) else {}
    version = facts.get("version")
    if facts.get("format") != _FORMAT or not isinstance(version, int) or version > _VERSION:
        raise ValueError(
            f"{path.name} says {header!r}, and this release reads {_FORMAT!r} up to version "
            f"{_VERSION}: update sklearn-dsink."
        )
    return parts[_STRUCTURE], parts[_TENSORS]


def _own_parts(names: set[str]) -> set[str]:
    """Names of this package's estimators, nets, callbacks and records, built without running."""
    own = set()
    for name in names:
        module_name, _, class_name = name.rpartition(".")
        if module_name.startswith("sklearn_dsink."):
            part = getattr(_own_module(module_name), class_name, None)
            if isinstance(part, type) and (
                issubclass(part, (BaseEstimator, Callback, NeuralNet, torch.nn.Module))
                or is_dataclass(part)
            ):
                own.add(name)
    return own


def _own_module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:  # such as a class, of which a method was named
        return None


# A model is copied with each net and tensor exchanged for its stand-in, and back. Pickle knows how
# to walk any object graph and calls `persistent_id` on the way; the bytes never leave memory.


def _exchange(model: Any, exchange: Any) -> Any:
    """Copy an object graph with each object for which `exchange` gives a stand-in replaced."""
    kept: dict[int, Any] = {}
    seen: list[Any] = []  # keeps the originals alive, so that an id is one object's alone

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> int | None:
            if id(obj) not in kept:
                stand_in = exchange(obj)
                if stand_in is None:
                    return None
                kept[id(obj)] = stand_in
                seen.append(obj)
            return id(obj)

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: int) -> Any:
            return kept[pid]

    buffer = io.BytesIO()
    Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(model)
    buffer.seek(0)
    return Unpickler(buffer).load()


def _without_tensors(model: Any, tensors: dict[str, torch.Tensor]) -> Any:
    trained_further: set[int] = set()

    def keep(tensor: torch.Tensor) -> str:
        key = str(len(tensors))
        tensors[key] = tensor.detach().cpu().clone().contiguous()
        return key

    def exchange(obj: Any) -> Any:
        if isinstance(obj, torch.Tensor):
            return SavedTensor(keep(obj))
        if isinstance(obj, NeuralNet):
            return _bare_net(obj, keep, tensors, further=id(obj) in trained_further)
        if isinstance(obj, LRScheduler) and hasattr(obj, "lr_scheduler_"):
            # It holds the optimizer, and the next training makes its own.
            bare = copy.copy(obj)
            del bare.lr_scheduler_
            return bare
        if isinstance(obj, BaseEstimator) and getattr(obj, "_warm", None) is not None:
            # The walk comes to the target after its classifier.
            trained_further.add(id(getattr(obj, "target_", None)))
        form = SavedDict(obj) if _has_other_keys(obj) else saved_form(obj)
        if form is not None:
            vars(form).update(_without_tensors(vars(form), tensors))
        return form

    return _exchange(model, exchange)


def _has_other_keys(obj: Any) -> bool:
    return isinstance(obj, dict) and any(type(key) is not str for key in obj)


def _bare_net(
    net: NeuralNet, keep: Any, tensors: dict[str, torch.Tensor], *, further: bool
) -> SavedNet:
    params = {k: v for k, v in net.get_params(deep=False).items() if k != "torch_load_kwargs"}
    bare = _without_tensors(params, tensors)
    if not getattr(net, "initialized_", False):
        return SavedNet(type(net), bare, {}, [], {}, {})
    state = {
        name: {key: keep(value) for key, value in part.items()}
        for name, part in states(net, net._modules + net._criteria).items()
    }
    fitted = {k: v for k, v in vars(net).items() if k in _FITTED}
    steps = _without_tensors(states(net, steppers(net)), tensors) if further else {}
    return SavedNet(type(net), bare, state, plain_history(net), fitted, steps)


def _with_tensors(bare: Any, tensors: dict[str, torch.Tensor]) -> Any:
    def exchange(obj: Any) -> Any:
        if isinstance(obj, SavedTensor):
            return tensors[obj.key]
        if isinstance(obj, SavedNet):
            return _built_net(obj, tensors)
        if isinstance(obj, SavedPandas | SavedDict):
            vars(obj).update(_with_tensors(vars(obj), tensors))
            return obj.built()
        return None

    return _exchange(bare, exchange)


def _built_net(saved: SavedNet, tensors: dict[str, torch.Tensor]) -> NeuralNet:
    params = _with_tensors(copy.copy(saved.params), tensors)
    if str(params.get("device", "cpu")).startswith("cuda") and not torch.cuda.is_available():
        for name in [name for name in params if name == "device" or name.endswith("__device")]:
            params[name] = "cpu"
    if not (isinstance(saved.net_class, type) and issubclass(saved.net_class, NeuralNet)):
        raise LookupError(f"{saved.net_class!r} is no skorch net")
    for name in params:
        if name.endswith("_") or name in _NAMES or hides_a_method(saved.net_class, name):
            raise LookupError(f"{name} is no parameter of {saved.net_class.__name__}")
    net = saved.net_class(**params)
    if not saved.state:
        return net
    _check_what_is_called(net)
    with torch.random.fork_rng(devices=[]):  # building the modules draws weights
        net.initialize()
    for name in net._modules + net._criteria:
        module = getattr(net, f"{name}_")
        keys = saved.state.get(name, {})
        try:
            module.load_state_dict({key: tensors[place] for key, place in keys.items()})
        except RuntimeError as error:
            raise LookupError(f"{name}_: {' '.join(str(error).split())}") from error
        module.eval()
    load_states(net, _with_tensors(saved.steps, tensors))
    net.history_ = History(saved.history)
    vars(net).update({k: saved.fitted[k] for k in _FITTED & {*saved.fitted}})
    return net


def _check_what_is_called(net: NeuralNet) -> None:
    """Raise LookupError if initializing the net would call other than what a net is made of."""
    for name in _CALLED:
        if not isinstance(getattr(net, name), type | FunctionType | partial | torch.nn.Module):
            raise LookupError(f"the net's {name} is a {type(getattr(net, name)).__name__}")
    for name, given in net._uniquely_named_callbacks():
        callback = getattr(net, f"callbacks__{name}", given)
        kind = callback if isinstance(callback, type) else type(callback)
        if callback is not None and not issubclass(kind, Callback):
            raise LookupError(f"the net's callback {name} is a {kind.__name__}")
