"""The exported target answers as the classifier does, in another runtime."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from _quick import TinyModule, make_blobs, quick, tiny_net
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_dsink.defaults import default_target
from sklearn_dsink.export import export_onnx
from sklearn_dsink.inputs import TabularEncoder

pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx onnxscript")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

NAMES = ["ant", "bee", "cow"]
X, Y, _ = make_blobs(flip=0.1, names=NAMES)


def default_net():
    return default_target(X.astype(np.float32), 3).set_params(max_epochs=3)


def run(path, inputs):
    session = runtime.InferenceSession(path)
    return session.run(["probabilities"], {"X": inputs})[0], session


@pytest.mark.parametrize(
    "params",
    [
        {"target": default_net(), "class_prior": "train"},
        {
            "target": tiny_net(module__softmax=True, criterion=nn.NLLLoss),
            "class_prior": [0.2, 0.3, 0.5],
            "prior_correction": False,
        },
    ],
    ids=["default net", "module of probabilities"],
)
def test_probabilities_are_those_of_the_target_alone(params, tmp_path):
    clf = quick(**params, combine=False).fit(X, Y)
    path = export_onnx(clf, tmp_path / "target.onnx")
    for n_rows in (1, len(X)):
        found, session = run(path, X[:n_rows].astype(np.float32))
        np.testing.assert_allclose(found, clf.predict_proba(X[:n_rows]), atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == NAMES
    assert [p.name for p in tmp_path.iterdir()] == ["target.onnx"]


@pytest.mark.parametrize("autocast", ["bfloat16", "float16"])
def test_mixed_precision_is_left_out(autocast, tmp_path):
    net = default_net().set_params(module__autocast=autocast)
    clf = quick(target=net, combine=False).fit(X, Y)
    found, _ = run(export_onnx(clf, tmp_path / "target.onnx"), X.astype(np.float32))
    assert clf.target_.module_.autocast == autocast
    np.testing.assert_allclose(found, clf.predict_proba(X), atol=0.02)
    clf.target_.module_.autocast = None
    np.testing.assert_allclose(found, clf.predict_proba(X), atol=1e-5)


def test_tables_are_encoded_first(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["kind"] = np.where(X[:, 0] > 0, "large", "small")
    auxiliary = make_pipeline(TabularEncoder(), GaussianNB())
    clf = quick(6, noise_aux=auxiliary, imb_aux=auxiliary, combine=False).fit(frame, Y)
    found, _ = run(export_onnx(clf, tmp_path / "target.onnx"), clf.encoder_.transform(frame))
    np.testing.assert_allclose(found, clf.predict_proba(frame), atol=1e-5)


class Branches(TinyModule):
    """Takes a way that depends on the numbers, which no graph can tell."""

    def forward(self, X):
        return super().forward(X) if X.sum() > 0 else super().forward(2 * X)


def test_dates_are_labels_too(tmp_path, caplog):
    days = pd.Series(Y).map(dict(zip(NAMES, pd.date_range("2024-01-01", periods=3), strict=True)))
    path = export_onnx(quick(target=tiny_net()).fit(X, days), tmp_path / "target.onnx")
    classes = runtime.InferenceSession(path).get_modelmeta().custom_metadata_map["classes"]
    assert [day[:10] for day in json.loads(classes)] == [f"2024-01-0{k}" for k in (1, 2, 3)]
    loud = [record for record in caplog.records if record.levelname == "WARNING"]
    assert not loud, "torch speaks of what is not installed"


def test_what_cannot_be_exported_leaves_the_old_file(tmp_path):
    path = tmp_path / "target.onnx"
    path.write_bytes(b"old")
    with pytest.raises(NotFittedError):
        export_onnx(quick(), path)
    clf = quick(target=tiny_net().set_params(module=Branches)).fit(X, Y)
    with pytest.raises(ValueError, match="target: torch cannot write its Branches as ONNX"):
        export_onnx(clf, path)
    with pytest.raises(TypeError, match=r"found Pipeline.*pipeline\[-1\]"):
        export_onnx(make_pipeline(clf), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["target.onnx"]
