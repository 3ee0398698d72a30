"""A saved model predicts the same elsewhere, and a file that is not ours says so."""

from __future__ import annotations

import ast
import copy
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io as sio
import torch
from _quick import make_blobs, quick, tiny_net
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Freezer
from torch import nn

import sklearn_dsink
import sklearn_dsink.imbalance
import sklearn_dsink.noise
from sklearn_dsink import DSinkClassifier
from sklearn_dsink._base_net import BaseNetClassifier
from sklearn_dsink.inputs import TabularEncoder
from sklearn_dsink.persistence import (
    TRUSTED_TYPES,
    _own_parts,
    load_model,
    save_model,
    write_model,
)


class Mine(LogisticRegression):
    """A type that this package does not know."""


class TwoModules(NeuralNetClassifier):
    """A net whose module classifies what a second one gives."""

    def initialize_module(self):
        super().initialize_module()
        self.encoder_ = nn.Linear(4, 4)
        return self

    def infer(self, x, **fit_params):
        return super().infer(torch.tanh(self.encoder_(x)), **fit_params)


TWO_MODULES = (f"{__name__}.TwoModules", "torch.nn.modules.linear.Linear")

NETS = [
    part
    for module in (sklearn_dsink, sklearn_dsink.imbalance, sklearn_dsink.noise)
    for part in vars(module).values()
    if isinstance(part, type) and issubclass(part, BaseNetClassifier)
]


@pytest.fixture(scope="module")
def fitted():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    classifier = DSinkClassifier(
        ExtraTreesClassifier(10), LogisticRegression(max_iter=500), cv=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(StandardScaler(), classifier).fit(X, names[y]), X


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    return save_model(fitted[0], tmp_path_factory.mktemp("model") / "model.dsink")


def test_the_loaded_model_is_the_saved_one(fitted, saved):
    model, X = fitted
    torch.manual_seed(3)
    before = torch.get_rng_state()
    loaded = load_model(saved)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert (loaded.predict(X) == model.predict(X)).all()
    np.testing.assert_array_equal(loaded[-1].surrogate_labels_, model[-1].surrogate_labels_)
    assert loaded[-1].history_ == model[-1].history_
    assert loaded[-1].label_issues().equals(model[-1].label_issues())


def test_a_series_among_the_parameters_is_kept(fitted, tmp_path):
    model, X = fitted
    clf, rows = copy.copy(model[-1]), model[:-1].transform(X)
    prior = pd.Series(np.arange(1.0, 4.0), clf.classes_[::-1], name="share")
    loaded = load_model(save_model(clf.set_params(class_prior=prior), tmp_path / "model.dsink"))
    pd.testing.assert_series_equal(loaded.class_prior, prior)
    np.testing.assert_array_equal(loaded.predict_proba(rows), clf.predict_proba(rows))


def test_a_new_process_predicts_the_same(fitted, saved, tmp_path):
    model, X = fitted
    np.save(tmp_path / "X.npy", X.to_numpy())
    code = (
        "import sys, numpy as np, pandas as pd\n"
        "from sklearn_dsink.persistence import load_model\n"
        "model = load_model(sys.argv[1])\n"
        "X = pd.DataFrame(np.load(sys.argv[2]), columns=model.feature_names_in_)\n"
        "np.save(sys.argv[3], model.predict_proba(X))\n"
    )
    paths = [str(path) for path in (saved, tmp_path / "X.npy", tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.predict_proba(X), atol=1e-6)


def test_the_file_holds_no_pickle(saved):
    with zipfile.ZipFile(saved) as archive:
        assert set(archive.namelist()) == {"format.json", "model.skops", "tensors.safetensors"}
        with zipfile.ZipFile(io.BytesIO(archive.read("model.skops"))) as inner:
            names = inner.namelist()
    assert all(name.endswith((".json", ".npy", ".npz")) for name in names)


def test_every_type_of_the_default_model_is_on_the_list(saved):
    with zipfile.ZipFile(saved) as archive:
        types = sio.get_untrusted_types(data=archive.read("model.skops"))
    assert {name for name in types if not name.startswith("sklearn_dsink.")} <= set(TRUSTED_TYPES)


@pytest.mark.parametrize(
    "library",
    [lambda frame: frame, lambda f: f.convert_dtypes(dtype_backend="pyarrow"), pl.from_pandas],
    ids=["pandas", "pyarrow", "polars"],
)
def test_encodings_of_tables_need_no_further_trust(tmp_path, library):
    rng, n_rows = np.random.default_rng(0), 60
    day = pd.Series(pd.date_range("2024-01-01", periods=n_rows))
    table = pd.DataFrame(
        {
            "size": np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(size=n_rows)),
            "kind": rng.choice(["large", "small"], n_rows),
            "grade": pd.Categorical(rng.choice(["a", "b", "c"], n_rows)),
            "flag": rng.random(n_rows) < 0.5,
            "note": [f"item {number} of {number % 7}" for number in range(n_rows)],
            "day": day,
            "moment": day.dt.tz_localize("Europe/Rome"),
        }
    )
    frame = library(table)
    encoder = TabularEncoder().fit(frame)
    loaded = load_model(save_model(encoder, tmp_path / "encoder.dsink"))
    np.testing.assert_array_equal(loaded.transform(frame), encoder.transform(frame))


def test_paths_among_the_parameters_are_saved(fitted, tmp_path):
    classifier = clone(fitted[0][-1]).set_params(checkpoint_dir=tmp_path / "checkpoint")
    loaded = load_model(save_model(classifier, tmp_path / "model.dsink"))
    assert loaded.checkpoint_dir == classifier.checkpoint_dir


@pytest.mark.parametrize("method", NETS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_nets_in_the_auxiliaries_are_saved_with_their_weights(method, early_stopping, tmp_path):
    X, y = load_iris(return_X_y=True)
    net = method(max_epochs=3, random_state=0)
    if "early_stopping" in net.get_params():
        net.set_params(early_stopping=early_stopping)
    net.fit(X, y)
    loaded = load_model(save_model(net, tmp_path / "net.dsink"))
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))


def test_functions_of_the_package_are_not_trusted_with_its_classes():
    names = {"sklearn_dsink.report.write_report", "sklearn_dsink.losses.CrossEntropy"}
    assert _own_parts(names | {"sklearn_dsink.nothing.Here"}) == {
        "sklearn_dsink.losses.CrossEntropy"
    }


def test_a_foreign_type_is_named_and_refused_until_trusted(fitted, tmp_path):
    model, X = fitted
    own = Mine(max_iter=1000).fit(X, model.predict(X))
    with pytest.warns(UserWarning, match=r"mine\.dsink .* refuse it: test_persistence\.Mine\. "):
        path = save_model(own, tmp_path / "mine.dsink")
    with pytest.raises(ValueError, match=r"types that are not trusted: .*test_persistence\.Mine"):
        load_model(path)
    assert (load_model(path, trusted=(f"{__name__}.Mine",)).predict(X) == own.predict(X)).all()


@pytest.mark.parametrize("code", [os.system, exec, pickle.loads, SystemExit])
def test_code_in_a_file_is_refused_before_it_could_run(code, tmp_path):
    scaler = StandardScaler()
    scaler.code = code
    with pytest.warns(UserWarning, match=rf"load_model will refuse it: .*{code.__name__}"):
        path = save_model(scaler, tmp_path / "model.dsink")
    with pytest.raises(ValueError, match=rf"not trusted: .*{code.__name__}"):
        load_model(path)


def test_the_package_reads_no_pickle():
    for path in Path(sklearn_dsink.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name, options = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
            assert name not in {"eval", "exec", "pickle.load", "pickle.loads", "joblib.load"}, path
            if name == "torch.load":
                assert ast.unparse(options["weights_only"]) == "True", path
            if name == "np.load":
                assert ast.unparse(options["allow_pickle"]) == "False", path


def test_a_target_with_the_loader_of_torch_is_loaded(tmp_path):
    X, y = load_iris(return_X_y=True)
    clf = quick(noise_aux=GaussianNB()).fit(X, y)
    with pytest.warns(UserWarning, match=r"trusted=\('_quick\.TinyModule',\)"):
        path = save_model(clf, tmp_path / "m.dsink")
    loaded = load_model(path, trusted=("_quick.TinyModule",))
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def two_modules():
    X, y, _ = make_blobs()
    net = TwoModules(nn.Linear, module__in_features=4, module__out_features=3, verbose=0)
    net.set_params(criterion=nn.CrossEntropyLoss, max_epochs=3)
    return X, quick(target=net).fit(X, y)


def test_every_module_of_a_net_is_kept(tmp_path):
    X, clf = two_modules()
    write_model(clf, tmp_path / "model.dsink")
    loaded = load_model(tmp_path / "model.dsink", trusted=TWO_MODULES)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def test_a_file_without_the_weights_of_a_module_is_refused(tmp_path, monkeypatch):
    """Releases before wrote the first module and the criterion alone."""
    _, clf = two_modules()
    monkeypatch.setattr(clf.target_, "_modules", ["module"])
    write_model(clf, tmp_path / "model.dsink")
    with pytest.raises(ValueError, match=r'model\.dsink is damaged: encoder_: .*Missing key.*"we'):
        load_model(tmp_path / "model.dsink", trusted=TWO_MODULES)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, tmp_path, keep):
    data = saved.read_bytes()
    path = tmp_path / "cut.dsink"
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(ValueError, match=r"cut\.dsink is no model file .* or it is cut short"):
        load_model(path)


def test_a_changed_byte_is_refused(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "changed.dsink"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"cut short|damaged"):
        load_model(path)


def with_parts(saved, path, **parts):
    """Write a model file with some of its parts replaced."""
    names = {"header": "format.json", "skops": "model.skops", "tensors": "tensors.safetensors"}
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for part, name in names.items():
            new.writestr(name, parts.get(part, old.read(name)))
    return path


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"header": "[]"}, "says .* update"),
        ({"header": "null"}, "says None.* update"),
        ({"header": '{"format": "sklearn-dsink model"}'}, "says .* update"),
        ({"header": '{"format": "sklearn-dsink model", "version": "1"}'}, "says .* update"),
        ({"header": b"\xff\xfe"}, "is damaged"),
        ({"header": "[" * 100_000}, "is damaged"),
        ({"skops": b"junk"}, "is damaged"),
        ({"tensors": b"junk"}, "is damaged"),
    ],
)
def test_junk_in_a_file_is_refused(saved, tmp_path, parts, message):
    path = with_parts(saved, tmp_path / "junk.dsink", **parts)
    with pytest.raises(ValueError, match=rf"junk\.dsink {message}"):
        load_model(path)


def test_whatever_byte_is_changed_no_reader_raises_bare(saved, tmp_path):
    whole = saved.read_bytes()
    places = {*np.linspace(0, len(whole) - 1, 60, dtype=int), *range(len(whole) - 90, len(whole))}
    path = tmp_path / "changed.dsink"
    for place in sorted(places):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x08]) + whole[place + 1 :])
        with suppress(ValueError):  # a changed date harms nobody
            load_model(path)


def test_what_holds_itself_is_refused(tmp_path):
    clf = quick(target=tiny_net(max_epochs=1, callbacks=[Freezer("layers.0.*")])).fit(
        *make_blobs()[:2]
    )
    with pytest.raises(ValueError, match="cannot be saved: something in it holds itself"):
        save_model(clf, tmp_path / "model.dsink")
    assert not [*tmp_path.iterdir()]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ValueError, match="no model that sklearn_dsink saved"):
        load_model(path)
    for header in ({"format": "x"}, {"format": "sklearn-dsink model", "version": 2}):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("format.json", json.dumps(header))
            archive.writestr("model.skops", "")
            archive.writestr("tensors.safetensors", "")
        with pytest.raises(ValueError, match="up to version 1: update sklearn-dsink"):
            load_model(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="no model file"):
        load_model(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nowhere.dsink")
    with pytest.raises(ValueError, match=r"is a folder: give the model file itself"):
        load_model(tmp_path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.dsink"
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(StandardScaler(), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.dsink"]


@pytest.mark.parametrize("library", [joblib, pickle])
def test_pickle_and_joblib_work_as_well(fitted, tmp_path, library):
    model, X = fitted
    path = tmp_path / "model.pkl"
    with path.open("wb") as file:
        library.dump(model, file)
    with path.open("rb") as file:
        loaded = library.load(file)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_a_folder_is_not_taken_for_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: give the name of a file in it"):
        save_model(GaussianNB().fit([[0], [1]], [0, 1]), tmp_path)
    assert not list(tmp_path.iterdir())
