"""Save a fitted model to one file that cannot run code when it is loaded.

A pickle (or a joblib file) is a program: whoever loads it runs what its author put in. Here the
model's structure is a skops file, which names each type that loading would build and refuses those
that nobody vouched for, and every tensor is in a safetensors file, which holds numbers only.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import sys
import zipfile
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History

from ._files import replacing

__all__ = ["TRUSTED_TYPES", "load_model", "save_model"]

_FORMAT = "sklearn-dsink model"
_VERSION = 1
_HEADER, _STRUCTURE, _TENSORS = "format.json", "model.skops", "tensors.safetensors"

#: Types beyond skops' own list that a model of this package is built from: ours, and what a
#: skorch net, the default auxiliaries and skrub's encoding of tables name. Each was read; none
#: runs code when it is built.
TRUSTED_TYPES: tuple[str, ...] = (
    "collections.OrderedDict",
    "functools.partial",
    "imblearn.ensemble._bagging.BalancedBaggingClassifier",
    "imblearn.ensemble._easy_ensemble.EasyEnsembleClassifier",
    "imblearn.ensemble._forest.BalancedRandomForestClassifier",
    "imblearn.pipeline.Pipeline",
    "imblearn.under_sampling._prototype_selection._random_under_sampler.RandomUnderSampler",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "pandas.DatetimeTZDtype",
    "pandas.core.dtypes.dtypes.DatetimeTZDtype",
    "polars.datatypes.classes.Datetime",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn_dsink.classifier.DSinkClassifier",
    "sklearn_dsink.inputs.TabularEncoder",
    "sklearn_dsink.iterators.TensorIterator",
    "sklearn_dsink.label_model.LabelModel",
    "sklearn_dsink.net_classifier.NetClassifier",
    "sklearn_dsink.nets.CosineSchedule",
    "sklearn_dsink.nets.TabularNet",
    "sklearn_dsink.nets.softmax_of_logits",
    "sklearn_dsink.persistence.SavedIndex",
    "sklearn_dsink.persistence.SavedNet",
    "sklearn_dsink.persistence.SavedSeries",
    "sklearn_dsink.persistence.SavedTensor",
    "sklearn_dsink.scaling.SmoothClipper",
    "sklearn_dsink.target.DistillationLoss",
    "skorch.classifier.NeuralNetClassifier",
    "skorch.dataset.Dataset",
    "skorch.dataset.ValidSplit",
    "skrub._apply_to_each_col.ApplyToEachCol",
    "skrub._check_input.CheckInputDataFrame",
    "skrub._clean_categories.CleanCategories",
    "skrub._clean_null_strings.CleanNullStrings",
    "skrub._dataframe._common.is_any_date",
    "skrub._dataframe._common.is_categorical",
    "skrub._dataframe._common.is_numeric",
    "skrub._datetime_encoder.DatetimeEncoder",
    "skrub._drop_uninformative.DropUninformative",
    "skrub._duration_to_float.DurationToFloat",
    "skrub._string_encoder.StringEncoder",
    "skrub._table_vectorizer.PassThrough",
    "skrub._table_vectorizer.ShortReprDict",
    "skrub._table_vectorizer.TableVectorizer",
    "skrub._table_vectorizer._created_by_predicate",
    "skrub._to_datetime.ToDatetime",
    "skrub._to_float.ToFloat",
    "skrub._to_str.ToStr",
    "skrub.selectors._base.All",
    "skrub.selectors._base.And",
    "skrub.selectors._base.Cols",
    "skrub.selectors._base.Filter",
    "skrub.selectors._base.Sub",
    "skrub.selectors._selectors._cardinality_below",
    "torch.nn.modules.loss.CrossEntropyLoss",
    "torch.optim.adam.Adam",
    "torch.optim.adamw.AdamW",
    "torch.optim.sgd.SGD",
    "torch.utils.data.dataloader.DataLoader",
    "zoneinfo.ZoneInfo",
)


class SavedTensor:
    """Stands for a tensor in the saved structure.

    Parameters
    ----------
    key : str
        Its name among the saved tensors.
    """

    def __init__(self, key: str) -> None:
        self.key = key


class SavedIndex:
    """Stands for a pandas index, whose own saved form would depend on the release of pandas.

    Parameters
    ----------
    index : Index
        The names of the training rows.
    """

    def __init__(self, index: pd.Index[Any]) -> None:
        self.names = list(index.names)
        self.levels = [index.get_level_values(i).to_numpy() for i in range(index.nlevels)]

    def built(self) -> pd.Index[Any]:
        """Return the index again."""
        if len(self.levels) == 1:
            return pd.Index(self.levels[0], name=self.names[0])
        return pd.MultiIndex.from_arrays(self.levels, names=self.names)


class SavedSeries:
    """Stands for a pandas series, such as class shares by label.

    Parameters
    ----------
    series : Series
        Of a dtype that numpy has too.
    """

    def __init__(self, series: pd.Series[Any]) -> None:
        self.values = series.to_numpy()
        self.index = SavedIndex(series.index)
        self.name = series.name

    def built(self) -> pd.Series[Any]:
        """Return the series again."""
        return pd.Series(self.values, self.index.built(), name=self.name)


class SavedNet:
    """Stands for a fitted skorch net in the saved structure.

    Parameters
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
    """

    def __init__(
        self,
        net_class: type[NeuralNet],
        params: dict[str, Any],
        state: dict[str, dict[str, str]],
        history: list[dict[str, Any]],
        fitted: dict[str, Any],
    ) -> None:
        self.net_class = net_class
        self.params = params
        self.state = state
        self.history = history
        self.fitted = fitted


def save_model(model: Any, path: str | os.PathLike[str]) -> Path:
    """Write a fitted model to one file.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~sklearn_dsink.DSinkClassifier`, or an estimator that holds one, such as
        a Pipeline.
    path : path-like
        The file; replaced in one step if it is there.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    ValueError
        If the model holds something that skops cannot write.
    ImportError
        If skops or safetensors is not installed (``pip install "sklearn-dsink[cli]"``).

    See Also
    --------
    load_model : Read it back.

    Examples
    --------
    >>> save_model(clf, "model.dsink")  # doctest: +SKIP
    """
    import skops.io as sio
    from safetensors.torch import save
    from skops.io.exceptions import UnsupportedTypeException

    tensors: dict[str, torch.Tensor] = {}
    bare = _without_tensors(model, tensors)
    try:
        structure = sio.dumps(bare)
    except UnsupportedTypeException as error:
        raise ValueError(f"The model cannot be saved: {error}") from error
    header = {"format": _FORMAT, "version": _VERSION}
    with (
        replacing(path) as temporary,
        # Level 1 is three times faster than the default, for a file that is a quarter larger.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        archive.writestr(_HEADER, json.dumps(header))
        archive.writestr(_STRUCTURE, structure)
        archive.writestr(_TENSORS, save(tensors))
    return Path(path)


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
        Predicts what the saved one does.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut short, is no model file, was written by a later version, or holds types
        that are not trusted.

    Examples
    --------
    >>> clf = load_model("model.dsink")  # doctest: +SKIP
    """
    import skops.io as sio
    from safetensors import SafetensorError
    from safetensors.torch import load
    from skops.io.exceptions import UntrustedTypesFoundException

    path = Path(path)
    structure, tensors = _read(path)
    names = sio.get_untrusted_types(data=structure)
    unknown = _unknown(names, trusted)
    if unknown:
        raise ValueError(
            f"{path.name} holds types that are not trusted: {', '.join(unknown)}. If you know "
            "them and the file's author, pass their names in `trusted`."
        )
    try:
        bare = sio.loads(structure, trusted=names)
        return _with_tensors(bare, load(tensors))
    except (UntrustedTypesFoundException, SafetensorError, KeyError) as error:
        raise ValueError(f"{path.name} is damaged: {error}.") from error


def untrusted_types(path: str | os.PathLike[str], *, trusted: tuple[str, ...] = ()) -> list[str]:
    """Name the types in a model file for which :func:`load_model` would refuse it.

    Parameters
    ----------
    path : path-like
        A file that :func:`save_model` wrote.
    trusted : tuple of str, default=()
        As in :func:`load_model`.

    Returns
    -------
    names : list of str
        Sorted; empty where the file can be loaded.
    """
    import skops.io as sio

    structure, _ = _read(Path(path))
    return _unknown(sio.get_untrusted_types(data=structure), trusted)


def _unknown(names: list[str], trusted: tuple[str, ...]) -> list[str]:
    return sorted({*names} - {*TRUSTED_TYPES} - {*trusted} - _own_parts({*names}))


def _read(path: Path) -> tuple[bytes, bytes]:
    """Give the two parts of a model file after checking that it is one, and whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            if not {_HEADER, _STRUCTURE, _TENSORS} <= members:
                raise ValueError(
                    f"{path.name} is a zip file, but no model that sklearn_dsink saved."
                )
            header = json.loads(archive.read(_HEADER))
            if header.get("format") != _FORMAT or header.get("version", 0) > _VERSION:
                raise ValueError(
                    f"{path.name} says {header!r}, and this release reads {_FORMAT!r} up to "
                    f"version {_VERSION}: update sklearn-dsink."
                )
            return archive.read(_STRUCTURE), archive.read(_TENSORS)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path.name} is no model file of sklearn_dsink, or it is cut short ({error})."
        ) from error


def _own_parts(names: set[str]) -> set[str]:
    """Names of this package's estimators, nets, callbacks and records, built without running."""
    own = set()
    for name in names:
        module_name, _, class_name = name.rpartition(".")
        if module_name.startswith("sklearn_dsink."):
            module = sys.modules.get(module_name) or _import_own(module_name)
            part = getattr(module, class_name, None)
            if isinstance(part, type) and (
                issubclass(part, (BaseEstimator, Callback, NeuralNet, torch.nn.Module))
                or is_dataclass(part)
            ):
                own.add(name)
    return own


def _import_own(module_name: str) -> Any:
    return import_module(module_name) if find_spec(module_name) else None


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
    def keep(tensor: torch.Tensor) -> str:
        key = str(len(tensors))
        tensors[key] = tensor.detach().cpu().clone().contiguous()
        return key

    def exchange(obj: Any) -> Any:
        if isinstance(obj, torch.Tensor):
            return SavedTensor(keep(obj))
        if isinstance(obj, NeuralNet):
            return _bare_net(obj, keep, tensors)
        if isinstance(obj, pd.Index):
            return SavedIndex(obj)
        if isinstance(obj, pd.Series):
            return SavedSeries(obj)
        return None

    return _exchange(model, exchange)


def _bare_net(net: NeuralNet, keep: Any, tensors: dict[str, torch.Tensor]) -> SavedNet:
    params = {k: v for k, v in net.get_params(deep=False).items() if k != "torch_load_kwargs"}
    if not getattr(net, "initialized_", False):
        return SavedNet(type(net), _without_tensors(params, tensors), {}, [], {})
    state = {
        name: {key: keep(value) for key, value in getattr(net, f"{name}_").state_dict().items()}
        for name in ("module", "criterion")
    }
    history = [
        {key: value for key, value in epoch.items() if key != "batches"} for epoch in net.history
    ]
    fitted = {k: v for k, v in vars(net).items() if k == "classes_inferred_"}
    return SavedNet(type(net), _without_tensors(params, tensors), state, history, fitted)


def _with_tensors(bare: Any, tensors: dict[str, torch.Tensor]) -> Any:
    def exchange(obj: Any) -> Any:
        if isinstance(obj, SavedTensor):
            return tensors[obj.key]
        if isinstance(obj, SavedNet):
            return _built_net(obj, tensors)
        if isinstance(obj, SavedIndex | SavedSeries):
            return obj.built()
        return None

    return _exchange(bare, exchange)


def _built_net(saved: SavedNet, tensors: dict[str, torch.Tensor]) -> NeuralNet:
    params = _with_tensors(copy.copy(saved.params), tensors)
    if str(params.get("device", "cpu")).startswith("cuda") and not torch.cuda.is_available():
        for name in [name for name in params if name == "device" or name.endswith("__device")]:
            params[name] = "cpu"
    if not (isinstance(saved.net_class, type) and issubclass(saved.net_class, NeuralNet)):
        raise KeyError(f"{saved.net_class!r} is no skorch net")
    net = saved.net_class(**params)
    if not saved.state:
        return net
    with torch.random.fork_rng(devices=[]):  # building the modules draws weights
        net.initialize()
    for name, keys in saved.state.items():
        module = getattr(net, f"{name}_")
        module.load_state_dict({key: tensors[place] for key, place in keys.items()})
        module.eval()
    net.history_ = History(saved.history)
    vars(net).update(saved.fitted)
    return net
