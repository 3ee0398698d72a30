"""Parts of a fit kept on disk, so that an interrupted one goes on where it was.

A fit is a chain of steps that its data, settings and seed decide.  Only what takes long is kept:
the result of each auxiliary fit, and the target after each epoch.  All else is computed again, to
the same numbers.  Every file is written whole or not at all, ends in the SHA-256 of what it holds,
and reading one runs no code: arrays are .npy files without pickles, models are those of
:mod:`sklearn_dsink.persistence`, and the target's state is read by
``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback

from ._files import remove_leftovers, replacing
from ._fingerprint import differences
from ._net_states import load_states, states, steppers
from ._seeding import generator_states, set_generator_states
from .nets import plain_history
from .persistence import load_model, write_model

_FINGERPRINT, _TARGET, _FIT = "fingerprint.json", "target.pt", "fit-"
# What readers raise, each in its own way, of a file that is whole but of another kind.
_DAMAGE = (RuntimeError, ValueError, LookupError, EOFError, OSError, pickle.UnpicklingError)
_DIGEST_SIZE = hashlib.sha256().digest_size
_ARRAY = "numpy.ndarray"
_PLAIN = (bool, int, float, str, torch.Tensor, torch.nn.Parameter, type(None))


class Checkpoint:
    """Folder of one fit.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.
    fingerprint : dict of str to str
        Of the fit, see :func:`sklearn_dsink._fingerprint.take_fingerprint`.
    random_state : object
        The fit's own; has to be an int.

    Raises
    ------
    ValueError
        If the folder holds a fit of another fingerprint, or the random state is no int.
    ImportError
        If skops or safetensors is not installed.
    """

    def __init__(
        self, folder: str | os.PathLike[str], fingerprint: Mapping[str, str], random_state: Any
    ) -> None:
        if not isinstance(random_state, Integral):
            raise ValueError(
                f"checkpoint_dir needs an int as random_state, found {random_state!r}: a fit that "
                "is started again has to draw the same numbers."
            )
        if not (find_spec("skops") and find_spec("safetensors")):
            raise ImportError(
                "checkpoint_dir needs skops and safetensors: pip install skops safetensors."
            )
        self.folder = Path(folder).absolute()  # workers may be in another directory
        self.folder.mkdir(parents=True, exist_ok=True)
        self._compare(dict(fingerprint))
        remove_leftovers(self.folder, rf"fingerprint\.json|target\.pt|{_FIT}\d+-\d+\.\w+")
        self._n_stages = 0

    def _compare(self, fingerprint: dict[str, str]) -> None:
        path = self.folder / _FINGERPRINT
        if not path.exists():
            if (self.folder / _TARGET).exists() or any(self.folder.glob(f"{_FIT}*")):
                raise ValueError(
                    f"checkpoint_dir={str(self.folder)!r} holds parts of a fit without the "
                    f"{_FINGERPRINT} that says of which. Give this fit another folder."
                )
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(fingerprint, indent=1), encoding="utf-8")
            return
        try:
            other = differences(json.loads(path.read_text(encoding="utf-8")), fingerprint)
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}). Delete its folder.") from error
        if other:
            raise ValueError(
                f"checkpoint_dir={str(self.folder)!r} holds a fit with other {', '.join(other)}. "
                "Give this fit a folder of its own, or delete that one."
            )

    def next_stage(self, n_jobs: int) -> list[Path]:
        """Give the places of one stage's auxiliary fits, in their order.

        Parameters
        ----------
        n_jobs : int
            Fits of the stage.

        Returns
        -------
        places : list of Path
            For `read_result` and `write_result`, without a suffix.
        """
        self._n_stages += 1
        stage = f"{_FIT}{self._n_stages}"
        return [self.folder / f"{stage}-{number:03d}" for number in range(n_jobs)]

    def target_keeper(self, labeler: Any) -> TargetKeeper:
        """Give the callback that keeps the target and the potentials of its labels."""
        return TargetKeeper(self.folder / _TARGET, labeler)


def write_result(place: Path, result: Any, template: Any) -> str:
    """Keep what an auxiliary fit gave.

    Parameters
    ----------
    place : Path
        From `Checkpoint.next_stage`.
    result : ndarray or estimator
        Probabilities, or the fitted model.
    template : estimator
        What was fitted.

    Returns
    -------
    reason : str
        Empty, or why the model cannot be kept: something in it has no safe form on disk.
    """
    if isinstance(result, np.ndarray):
        with _sealing(place.with_suffix(".npy")) as temporary:
            np.save(temporary, result, allow_pickle=False)
        return ""
    try:
        with _sealing(place.with_suffix(".dsink")) as temporary:
            foreign = {*write_model(result, temporary)} - {*_types_of(template)}
            if foreign:
                raise ValueError(f"it holds the types {', '.join(sorted(foreign))}")
    except (ValueError, TypeError, AttributeError, pickle.PicklingError) as error:
        return str(error)
    return ""


def is_kept(place: Path) -> bool:
    """Whether `write_result` has kept something there."""
    return any(place.with_suffix(suffix).exists() for suffix in (".npy", ".dsink"))


def read_result(place: Path, template: Any) -> Any:
    """Read what `write_result` kept.

    Parameters
    ----------
    place : Path
        From `Checkpoint.next_stage`.
    template : estimator
        What is to be fitted; its types are trusted, since the user gave them to this very fit.

    Returns
    -------
    result : ndarray or estimator

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    array, model = place.with_suffix(".npy"), place.with_suffix(".dsink")
    path = array if array.exists() else model
    try:
        data = _unsealed(path)
        if path == array:
            return np.load(data, allow_pickle=False)
        return load_model(model, trusted=_types_of(template))
    except _DAMAGE as error:
        raise _damaged(path, error) from error


@contextmanager
def _sealing(path: Path) -> Iterator[Path]:
    """Let a file be written, whole or not at all, and add its SHA-256, which readers pass over."""
    with replacing(path) as temporary:
        yield temporary
        digest = hashlib.sha256(temporary.read_bytes()).digest()
        with temporary.open("ab") as file:
            file.write(digest)


def _unsealed(path: Path) -> io.BytesIO:
    """Read what `_sealing` wrote; raise ValueError if it is not that any more."""
    data = path.read_bytes()
    if hashlib.sha256(data[:-_DIGEST_SIZE]).digest() != data[-_DIGEST_SIZE:]:
        raise ValueError("its SHA-256 has changed")
    return io.BytesIO(data[:-_DIGEST_SIZE])


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} is damaged ({type(error).__name__}: {error}). Delete this file: what it held is "
        "then computed again, and nothing else."
    )


def _types_of(estimator: Any) -> tuple[str, ...]:
    """Full names of an unfitted estimator's class and of the classes and functions it is given."""
    names = set()
    for part in (estimator, *estimator.get_params(deep=True).values()):
        named = type(part) if isinstance(part, (BaseEstimator, Callback)) else part
        if hasattr(named, "__module__") and hasattr(named, "__name__"):
            names.add(f"{named.__module__}.{named.__name__}")
    return tuple(sorted(names))


class TargetKeeper(Callback):
    """Keep the target after each epoch, and put it back.

    Modules, criterion, which of their parameters are frozen, optimizers, the scale of float16's
    loss, history and the states of the random generators are kept, of each callback the attributes
    ending in ``_`` that are numbers, text, arrays, tensors or collections of these, and the
    ``state_dict()`` of those that have one.  Surrogate rows are not: the weights and the
    potentials from which they were last renewed give the same rows again.

    Parameters
    ----------
    path : Path
        The file.
    labeler : SurrogateLabeler
        Renews the surrogate rows; after a first call.
    """

    def __init__(self, path: Path, labeler: Any) -> None:
        self.path = path
        self.labeler = labeler
        self._renewal: dict[str, Any] | None = None
        self._modules: dict[str, Any] = {}
        self._generators: dict[str, Any] | None = None

    def restore(self, net: Any, renewal: Any) -> int:
        """Put back what was kept, into a net whose training is about to begin.

        Parameters
        ----------
        net : NeuralNet
            Initialized, its callbacks told that training begins.
        renewal : RenewSurrogate or None
            Renews the surrogate rows; None where they stay as they are.

        Returns
        -------
        n_epochs : int
            Epochs done; 0 where nothing is kept.
        """
        if not self.path.exists():
            return 0
        try:
            kept = torch.load(_unsealed(self.path), map_location="cpu", weights_only=True)
            history = kept["history"]
        except _DAMAGE as error:
            raise _damaged(self.path, error) from error
        self._renewal = kept["renewal"]
        if self._renewal is not None:
            load_states(net, self._renewal["modules"])
            potentials = self._renewal["potentials"].numpy()
            self.labeler.result = replace(self.labeler.result, potentials=potentials)
            renewal.update(net)
        load_states(net, kept["modules"])
        for name, parameter in _parameters(net):
            parameter.requires_grad_(name not in kept["frozen"])
        load_states(net, kept["optimizers"])
        for row in history:
            net.history.append({**row, "batches": []})
        for name, callback in net.callbacks_:
            _load_callback(callback, kept["callbacks"].get(name, {}))
        self._generators = kept["generators"]
        return len(history)

    def begin_epoch(self) -> None:
        """Let an epoch start from the potentials and the random numbers that it is to have.

        Not sooner, since the net may have drawn some to split off its validation part.
        """
        self._potentials = self.labeler.result.potentials
        if self._generators is not None:
            set_generator_states(self._generators)
            self._generators = None

    def before_renewal(self, net: Any) -> None:
        """Note the weights that a renewal is about to read; callbacks after it may change them."""
        self._modules = deepcopy(states(net, net._modules + net._criteria))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep the net as the epoch, all other callbacks included, has left it."""
        if self.labeler.result.potentials is not self._potentials:
            self._renewal = {
                "modules": self._modules,
                "potentials": torch.as_tensor(self._potentials),
            }
        kept = {
            "modules": states(net, net._modules + net._criteria),
            "frozen": [name for name, part in _parameters(net) if not part.requires_grad],
            "optimizers": states(net, steppers(net)),
            "renewal": self._renewal,
            "history": [
                {key: _plain(value) for key, value in row.items()} for row in plain_history(net)
            ],
            "callbacks": {name: _callback_state(callback) for name, callback in net.callbacks_},
            "generators": generator_states(),
        }
        for part in ("modules", "optimizers", "history", "callbacks"):
            if not _is_plain(kept[part]):
                raise ValueError(
                    f"target: after epoch {len(net.history)} its {part} hold more than numbers, "
                    "text and tensors, which checkpoint_dir cannot keep without a pickle. Take "
                    "that out of them, or fit without checkpoint_dir."
                )
        data = io.BytesIO()  # of a full disk, torch itself would say "unexpected pos"
        torch.save(kept, data)
        with _sealing(self.path) as temporary:
            temporary.write_bytes(data.getbuffer())


class EpochOpening(Callback):
    """Before all other callbacks, tell a `TargetKeeper`, which itself comes last, of each epoch.

    Parameters
    ----------
    keeper : TargetKeeper
        Closes the epochs.
    """

    def __init__(self, keeper: TargetKeeper) -> None:
        self.keeper = keeper

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Pass the word on."""
        self.keeper.begin_epoch()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Pass the word on."""
        self.keeper.before_renewal(net)


def _parameters(net: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for part in net._modules + net._criteria:
        yield from getattr(net, f"{part}_").named_parameters(prefix=part)


def _callback_state(callback: Any) -> dict[str, Any]:
    """Fitted attributes that need no pickle; state of schedulers under their own word for it."""
    state = {}
    for name, value in vars(callback).items():
        if name.endswith("_") and not isinstance(value, type):
            if hasattr(value, "state_dict"):  # what is not plain in it is refused
                parts = value.state_dict().items()
                state[name] = {"state_dict": {key: _packed(part) for key, part in parts}}
            elif _is_plain(_packed(value)):
                state[name] = _packed(value)
    return state


def _load_callback(callback: Any, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        if isinstance(value, dict) and set(value) == {"state_dict"}:
            parts = value["state_dict"].items()
            getattr(callback, name).load_state_dict({key: _unpacked(part) for key, part in parts})
        else:
            setattr(callback, name, _unpacked(value))


def _packed(value: Any) -> Any:
    """Exchange an array of numbers for a tensor that says so."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {_ARRAY: torch.from_numpy(value.copy())}
    return _plain(value)


def _unpacked(value: Any) -> Any:
    return value[_ARRAY].numpy() if isinstance(value, dict) and set(value) == {_ARRAY} else value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_plain(value: Any) -> bool:
    """Whether ``torch.load(weights_only=True)`` reads a value back."""
    if type(value) in (dict, OrderedDict, Counter):
        return all(_is_plain(part) for item in value.items() for part in item)
    if type(value) in (list, tuple):
        return all(_is_plain(part) for part in value)
    return type(value) in _PLAIN
