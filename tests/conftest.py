"""What every test shares: one thread a process, no window, seeds that are left alone."""

from __future__ import annotations

import os

# Before numpy or torch start their pools: pytest-xdist runs one process a core already.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from sklearn.datasets import load_iris

from sklearn_dsink import _parameters
from sklearn_dsink.datasets import flip_labels

torch.set_num_threads(1)

# A fixed walk through the examples, so that a red run is red again; `nightly` looks further.
settings.register_profile(
    "default",
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where there is no CUDA device, and say so."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device, and torch finds none")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture
def rng() -> np.random.Generator:
    """Give a generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def two_threads():
    """Let torch compute on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def noisy_iris() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give features, labels of which three in ten are wrong, and the true ones."""
    X, y = load_iris(return_X_y=True)
    return X, flip_labels(y, 0.3, random_state=0)[0], y


@pytest.fixture
def short_default_target(monkeypatch):
    default_target = _parameters.default_target

    def short(*args, **kwargs):
        return default_target(*args, **kwargs).set_params(max_epochs=5)

    monkeypatch.setattr(_parameters, "default_target", short)
