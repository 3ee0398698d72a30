"""An auxiliary that hangs is killed when its time is over; one that does not is none the wiser."""

from __future__ import annotations

import ctypes
import os
import time

import numpy as np
import pytest
import sklearn
from _quick import make_blobs, quick
from sklearn.naive_bayes import GaussianNB

from sklearn_dsink._limits import LimitedWorkers

X, Y, _ = make_blobs(flip=0.2)
N_ROWS = len(X)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class HangsInC(GaussianNB):
    """Waits in C without giving up the interpreter, so that no signal handler of Python's runs.

    Only where a fold is left out, and after writing its process down.
    """

    def __init__(self, folder=""):
        super().__init__()
        self.folder = folder

    def fit(self, X, y, sample_weight=None):
        if len(X) < N_ROWS:
            open(f"{self.folder}/{os.getpid()}", "w").close()
            ctypes.PyDLL(None).sleep(60)
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_auxiliary_that_hangs_is_killed_and_named(tmp_path, n_jobs):
    model = quick(imb_aux=HangsInC(str(tmp_path)), refine=False, n_jobs=n_jobs, fit_timeout=2)
    start = time.perf_counter()
    with pytest.raises(
        TimeoutError,
        match=r"imb_aux=HangsInC\(.*\) was not fitted on all but fold \d of 2 within "
        r"fit_timeout=2 s\. Raise",
    ):
        model.fit(X, Y)
    assert time.perf_counter() - start < 50
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert 1 <= len(pids) <= n_jobs
    assert not any(is_alive(pid) for pid in pids)
    assert not hasattr(model, "target_")


def test_a_fit_in_time_is_the_fit_without_a_limit(tmp_path):
    settings = {"refine": False, "checkpoint_dir": tmp_path}
    limited = quick(**settings, fit_timeout=60).fit(X, Y)
    plain = quick(refine=False).fit(X, Y)
    np.testing.assert_array_equal(limited.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(limited.surrogate_labels_, plain.surrogate_labels_)
    again = quick(**settings, fit_timeout=1e-6).fit(X, Y)  # all is kept by now
    np.testing.assert_array_equal(again.predict_proba(X), plain.predict_proba(X))


class Fails(GaussianNB):
    """Raises what a classifier may raise."""

    def fit(self, X, y, sample_weight=None):
        raise ArithmeticError("no luck")


@pytest.mark.slow
def test_an_error_in_time_reaches_the_user():
    with pytest.raises(ValueError, match=r"noise_aux=Fails.* failed .*ArithmeticError: no luck"):
        quick(noise_aux=Fails(), fit_timeout=60).fit(X, Y)


def assumes_finite():
    return sklearn.get_config()["assume_finite"]


def test_workers_have_the_users_configuration_and_do_not_outlive_the_block():
    with LimitedWorkers(60) as workers:
        pid = workers.run(os.getpid)
        assert workers.run(os.getpid) == pid != os.getpid()
        with sklearn.config_context(assume_finite=True):
            assert workers.run(assumes_finite)
        assert not workers.run(assumes_finite)
    assert not is_alive(pid)


@pytest.mark.parametrize("fit_timeout", [0, -1, "1"])
def test_a_time_out_is_a_positive_number(fit_timeout):
    with pytest.raises(ValueError, match="'fit_timeout' parameter of DSinkClassifier must be"):
        quick(fit_timeout=fit_timeout).fit(X, Y)
