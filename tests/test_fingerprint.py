"""A fingerprint is of values: the same in any layout and process, another for any change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from _quick import tiny_net
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import EarlyStopping
from torch import nn

from sklearn_dsink import DSinkClassifier, NetClassifier
from sklearn_dsink._fingerprint import differences, take_fingerprint
from sklearn_dsink.imbalance import PriorCorrectedClassifier
from sklearn_dsink.noise import NoiseCorrectedClassifier

CODES, CLASSES = np.array([0, 1, 0]), np.array(["no", "yes"], dtype=object)
VALUES = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])


def taken(X=VALUES, codes=CODES, classes=CLASSES, **params):
    parameters = DSinkClassifier(**params).get_params(deep=False)
    return take_fingerprint(parameters, X, codes, classes=classes)


def table():
    return pd.DataFrame(
        {
            "text": ["a", None, "c"],
            "kind": pd.Categorical(["x", "y", "x"]),
            "day": pd.to_datetime(["2024-01-01", "2024-01-02", None]),
            "number": VALUES[:, 1],
        }
    )


def changed(frame, name, value):
    return frame.assign(**{name: [*frame[name][:2], value]}).astype({name: frame[name].dtype})


def with_kind(dtype):
    # By way of text, for pandas takes categories in another order for the same type.
    return table().astype({"kind": str}).astype({"kind": dtype})


def enum(*categories):
    return pl.from_pandas(table()).with_columns(pl.col("kind").cast(pl.Enum(categories)))


def test_the_layout_of_the_rows_does_not_matter(tmp_path):
    np.save(tmp_path / "X.npy", VALUES)
    for other in (
        np.asfortranarray(VALUES),
        np.repeat(VALUES, 2, axis=1)[:, ::2],
        np.load(tmp_path / "X.npy", mmap_mode="r"),
    ):
        assert differences(taken(), taken(other)) == []
    frame = table()
    assert differences(taken(frame), taken(frame.set_index(np.array([7, 8, 9])))) == []


@pytest.mark.parametrize(
    "first, second",
    [
        (VALUES, np.nan_to_num(VALUES)),
        (VALUES, VALUES.astype(np.float32)),
        (VALUES, VALUES.T.reshape(3, 2)),
        (VALUES[:2], VALUES),
        (table(), changed(table(), "text", "d")),
        (table(), changed(table(), "kind", "y")),
        (table(), changed(table(), "day", pd.Timestamp("2024-01-03"))),
        (table(), changed(table(), "number", 7.0)),
        (table(), table().astype({"number": "Float64"})),
        (table(), with_kind(pd.CategoricalDtype(["y", "x"]))),
        (table(), with_kind(pd.CategoricalDtype(["x", "y", "z"]))),
        (table(), with_kind(pd.CategoricalDtype(["x", "y"], ordered=True))),
        (enum("x", "y"), enum("y", "x")),
        (table(), table().rename(columns={"number": "amount"})),
        (table(), table()[["kind", "text", "day", "number"]]),
        (pl.from_pandas(table()), pl.from_pandas(changed(table(), "text", "d"))),
        (sparse.csr_array(VALUES), sparse.csr_array(2 * VALUES)),
        (sparse.csr_array(VALUES), sparse.csr_array(np.roll(VALUES, 1, axis=1))),
    ],
)
def test_any_change_of_the_rows_is_seen(first, second):
    assert differences(taken(first), taken(first)) == []
    assert differences(taken(first), taken(second)) == ["X"]


class Weighted(nn.Module):
    """A loss with numbers of its own."""

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.bfloat16))


def test_a_tensor_counts_by_its_numbers():
    first, second, other = (taken(base_loss=Weighted(w)) for w in ([1.0, 2.0], [1.0, 2.0], [3.0]))
    assert differences(first, second) == []
    assert differences(first, other) == ["base_loss"]


def test_estimators_count_by_their_parameters_and_not_by_what_they_have_learnt():
    model = LogisticRegression().fit(VALUES[[0, 2]], [0, 1])
    assert differences(taken(noise_aux=model), taken(noise_aux=LogisticRegression())) == []
    net = tiny_net(n_features=2, n_classes=2, callbacks=[EarlyStopping()])
    first = taken(target=net)
    net.initialize()
    assert differences(first, taken(target=net)) == []
    assert differences(first, taken(target=tiny_net(2, 2))) == ["target"]
    net.set_params(callbacks__EarlyStopping__patience=9)
    assert differences(first, taken(target=net)) == ["target"]


@pytest.mark.parametrize("wrap", [PriorCorrectedClassifier, NoiseCorrectedClassifier])
def test_a_frozen_estimator_inside_a_correction_counts_by_what_it_predicts(wrap):
    def net(**params):
        net = NetClassifier(max_epochs=2, random_state=0, **params)
        return wrap(FrozenEstimator(net.fit(np.nan_to_num(VALUES), CODES)))

    first = taken(np.nan_to_num(VALUES), imb_aux=net(), classes=np.array([0, 1]))
    again = taken(np.nan_to_num(VALUES), imb_aux=net(), classes=np.array([0, 1]))
    assert differences(first, again) == []  # though its seconds an epoch are others
    other = taken(np.nan_to_num(VALUES), imb_aux=net(lr=0.5), classes=np.array([0, 1]))
    assert differences(first, other) == ["imb_aux"]


def test_labels_count_with_their_names():
    assert differences(taken(), taken(classes=np.array(["no", "oui"], dtype=object))) == ["y"]
    assert differences(taken(), taken(codes=CODES[::-1] * 0 + 1)) == ["y"]


def test_what_has_no_name_is_refused():
    with pytest.raises(ValueError, match=r"imb_aux cannot be compared .* at the top of a module"):
        taken(imb_aux=FunctionTransformer(lambda X: X))
    with pytest.raises(ValueError, match="imb_aux cannot be compared"):  # joblib fails on these
        taken(imb_aux=GaussianNB(priors=np.ma.masked_all(2)))


def main():
    settings = {"noise_aux": LogisticRegression(), "target": tiny_net(callbacks=[EarlyStopping()])}
    print(json.dumps(taken(table(), **settings, base_loss=Weighted([1.0]))))


def test_another_process_takes_the_same(capsys):
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    other = subprocess.run(
        [sys.executable, "-c", "import test_fingerprint as t; t.main()"],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    main()
    assert differences(json.loads(other), json.loads(capsys.readouterr().out)) == []
