"""A dict comes back from a model file with the keys that it had, whatever their types."""

from __future__ import annotations

import datetime
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from _quick import make_blobs, quick
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from sklearn_dsink import DSinkClassifier, NetClassifier
from sklearn_dsink.persistence import load_model, save_model

X, Y, _ = make_blobs((60, 30))
TRUTH = Y == 1
DICTS = {
    "truth": {False: 1, True: 7},
    "truth of numpy": {np.False_: 1, np.True_: 7},
    "nothing": {None: 1},
    "whole": {3: "a", -1: "b"},
    "whole of numpy": {np.int8(3): "a", np.uint64(2**64 - 1): "b"},
    "real": {0.1: "a", float("inf"): "b", np.float32(0.1): "c"},
    "text": {"": 1, "True": 2},
    "text of numpy": {np.str_("a"): 1},
    "numbers and text": {1: "a", "1": "b", None: "c", "null": "d"},
    "tuples": {("a", True): 1, (): 2},
    "bytes": {b"a": 1},
    "days": {datetime.date(2024, 1, 1): 1, np.datetime64("2024-01-02"): 2},
    "empty": {},
    "nested": {True: {False: [{None: 3}]}, False: {"a": {1: 2}}},
    "ordered": OrderedDict([(True, 1), (False, 2)]),
    "default": defaultdict(list, {1: [2], None: [3], "a": [4]}),
}


def again(path, value):
    scaler = StandardScaler()
    scaler.value = value
    return load_model(save_model(scaler, path / "model.dsink")).value


@pytest.mark.parametrize("name", DICTS)
def test_keys_of_any_type_come_back(tmp_path, name):
    before = repr(DICTS[name])  # which tells the types, and the order
    assert repr(again(tmp_path, DICTS[name])) == repr(DICTS[name]) == before


def test_tensors_and_models_in_such_a_dict_come_back(tmp_path):
    tensor, model = torch.arange(3.0), GaussianNB().fit(X, Y)
    loaded = again(tmp_path, {True: tensor, 1.5: [model]})
    assert torch.equal(loaded[True], tensor)
    np.testing.assert_array_equal(loaded[1.5][0].predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("truth", [bool, np.bool_], ids=["Python", "numpy"])
def test_weights_and_priors_by_labels_that_are_true_or_false_come_back(tmp_path, truth):
    by_label = {truth(0): 0.3, truth(1): 0.7}
    weighted = LogisticRegression(class_weight=by_label)
    models = [
        NetClassifier(class_weight=by_label, max_epochs=3, random_state=0),
        DSinkClassifier(weighted, GaussianNB(), cv=2, class_prior=by_label, random_state=0),
        GridSearchCV(weighted, {"class_weight": [by_label]}, cv=2),
    ]
    for model in models:
        loaded = load_model(save_model(model.fit(X, TRUTH), tmp_path / "model.dsink"))
        assert repr(loaded.get_params()) == repr(model.get_params())
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.best_params_ == {"class_weight": by_label}


def test_an_auxiliary_read_back_from_a_checkpoint_has_its_weights_by_label(tmp_path):
    auxiliary = LogisticRegression(class_weight={False: 1, True: 7})
    settings = {"n_classes": 2, "noise_aux": auxiliary, "checkpoint_dir": tmp_path}
    first, second = (quick(**settings).fit(X, TRUTH) for _ in range(2))
    assert second.noise_aux_.class_weight == first.noise_aux_.class_weight
