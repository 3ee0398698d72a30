"""A forged file that names trusted types only cannot make loading call what it likes."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_dsink import NetClassifier
from sklearn_dsink.persistence import load_model, save_model


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return os._exit, (3,)


def node(name, loader, **content):
    module, _, kind = name.rpartition(".")
    return {"__module__": module, "__class__": kind, "__loader__": loader, **content}


def plain(value):
    return node("builtins.str", "JsonNode", content=json.dumps(value))


def many(*items, kind="list"):
    loader = {"list": "ListNode", "tuple": "TupleNode"}[kind]
    return node(f"builtins.{kind}", loader, content=[*items])


def by_name(name="builtins.dict", **content):
    keys = many(*[node("builtins.str", "TypeNode")] * len(content))
    return node(name, "DictNode", content=content, key_types=keys)


def instance(name, **state):
    return node(name, "ObjectNode", content=by_name(**state))


PRINT = node("builtins.print", "TypeNode")
SHOUT = many(plain("called"), kind="tuple")
CALL = node(
    "functools.partial",
    "PartialNode",
    content={"func": PRINT, "args": SHOUT, "kwds": by_name(), "namespace": plain(None)},
)
SCALER = "sklearn.preprocessing._data.StandardScaler"
OWN = "sklearn_dsink.scaling.SmoothClipper"
SCORER = instance("sklearn.metrics._scorer._Scorer", _score_func=PRINT)
SHARED = {**by_name(), "__id__": 7}
BYTES = node("builtins.bytes", "BytesNode", file="code.bin")


def in_two_dimensions(item):
    shape = many(plain(1), plain(1), kind="tuple")
    content = [many(item)]
    return node("numpy.ndarray", "NdArrayNode", type="json", content=content, shape=shape)


FORGED = {
    "a net's own pickle": (
        instance(
            "skorch.classifier.NeuralNetClassifier",
            device=plain("cpu"),
            torch_load_kwargs=by_name(weights_only=plain(False)),
            __cuda_dependent_attributes__=BYTES,
        ),
        "special name, '__cuda_dependent_attributes__'",
    ),
    "a net that is no SavedNet": (
        instance("skorch.classifier.NeuralNetClassifier", device=plain("cpu")),
        "NeuralNetClassifier as ObjectNode",
    ),
    "a partial of print": (instance(SCALER, scale_=CALL), "partial as PartialNode"),
    "a special method": (
        instance(SCALER, __reduce_ex__=SCORER),
        "special name, '__reduce_ex__', for a sklearn.metrics._scorer._Scorer",
    ),
    "an interface to memory": (
        in_two_dimensions(instance(SCALER, __array_interface__=by_name(shape=SHOUT))),
        "special name, '__array_interface__'",
    ),
    "an interface in JSON": (
        node(SCALER, "ObjectNode", content=plain({"__array_interface__": {}})),
        "builtins.str as JsonNode",
    ),
    "a method of the type": (
        instance("skorch.callbacks.training.EarlyStopping", initialize=SCORER),
        "EarlyStopping has an attribute 'initialize' in place of its method",
    ),
    "attributes of a Bunch": (
        by_name("sklearn.utils._bunch.Bunch", __array__=SCORER),
        "special name, '__array__'",
    ),
    "a list by print": (node("builtins.print", "ListNode", content=[]), "print as ListNode"),
    "a tuple by print": (node("builtins.print", "TupleNode", content=[]), "print as TupleNode"),
    "a call of print": (
        node("builtins.print", "ConstructorFromReduceNode", content=SHOUT),
        "print as ConstructorFromReduceNode",
    ),
    "a call of a type": (
        node("sklearn.neighbors._kd_tree.KDTree", "ConstructorFromReduceNode", content=SHOUT),
        "KDTree as ConstructorFromReduceNode",
    ),
    "a loss by print": (
        node("builtins.print", "LossNode", __reduce__={"args": SHOUT}, content=by_name()),
        "print as LossNode",
    ),
    "keys by print": (
        node("builtins.dict", "DictNode", content={"a": plain(1)}, key_types=many(PRINT)),
        "dict as DictNode",
    ),
    "attributes in pairs": (
        node(SCALER, "ObjectNode", content=many(many(plain("__array__"), SCORER, kind="tuple"))),
        "StandardScaler as ObjectNode",
    ),
    "attributes of another": (
        many(
            {**by_name(__array__=plain(1)), "__id__": 7},
            node(SCALER, "ObjectNode", content=SHARED),
        ),
        "two objects that differ, of builtins.dict, pass for one",
    ),
    "attributes in a tuple": (
        node(OWN, "ObjectNode", content=many(many(plain("__array__"), SCORER), kind="tuple")),
        "SmoothClipper as ObjectNode",
    ),
    "attributes of a partial in pairs": (
        node(
            "functools.partial",
            "PartialNode",
            content={
                "func": node("sklearn_dsink.target.DistillationLoss", "TypeNode"),
                "args": SHOUT,
                "kwds": by_name(),
                "namespace": many(many(plain("__reduce_ex__"), PRINT, kind="tuple")),
            },
        ),
        "partial has a namespace that is no dict",
    ),
    "a defaultdict of what has keys": (
        node(
            "collections.defaultdict",
            "DefaultDictNode",
            content={"main": instance(OWN, keys=PRINT), "default_factory": plain(None)},
        ),
        "defaultdict has a main that is no dict",
    ),
    "a reference": (many(node(SCALER, "CachedNode", __id__=8)), "unknown object id"),
    "a node cut short": ({"__loader__": "ObjectNode", "__module__": SCALER}, "'__class__'"),
}


def rewritten(path, edit):
    """Write the file again, with its structure edited and a pickle at hand."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(io.BytesIO(parts["model.skops"])) as inner:
        files = {name: inner.read(name) for name in inner.namelist()}
    structure = json.loads(files["schema.json"])
    files |= {"schema.json": json.dumps(edit(structure)), "code.bin": pickle.dumps(Code())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as inner:
        for name, content in files.items():
            inner.writestr(name, content)
    parts["model.skops"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_structure_is_refused_before_anything_is_built(tmp_path, name, capfd):
    forged, message = FORGED[name]

    def edit(structure):
        structure["content"]["content"]["mean_"] = forged
        structure["content"]["key_types"]["content"] *= 2
        return structure

    path = rewritten(save_model(StandardScaler(), tmp_path / "model.dsink"), edit)
    with pytest.raises(ValueError, match=rf"model\.dsink is damaged: .*{message}"):
        load_model(path)
    assert "called" not in capfd.readouterr().out


@pytest.fixture(scope="module")
def net():
    X = np.random.default_rng(0).normal(size=(40, 2))
    return NetClassifier(max_epochs=1, random_state=0).fit(X, X[:, 0] > 0)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("module", SCORER, "the net's module is a _Scorer"),
        ("module", PRINT, "the net's module is a builtin_function_or_method"),
        ("callbacks", many(instance(OWN, go=SCORER)), "callback SmoothClipper is a SmoothClipper"),
        ("initialize", SCORER, "initialize is no parameter of"),
        ("module_", SCORER, "module_ is no parameter of"),
    ],
)
def test_a_net_is_built_of_what_nets_are_made_of(tmp_path, net, name, value, message):
    def edit(structure):
        def walk(part):
            if isinstance(part, dict):
                if part.get("__class__") == "SavedNet":
                    params = part["content"]["content"]["params"]
                    params["content"][name] = value
                    params["key_types"]["content"].append(node("builtins.str", "TypeNode"))
                part = list(part.values())
            if isinstance(part, list):
                for item in part:
                    walk(item)

        walk(structure)
        return structure

    path = rewritten(save_model(net, tmp_path / "model.dsink"), edit)
    with pytest.raises(ValueError, match=rf"model\.dsink is damaged: .*{message}"):
        load_model(path)


def test_a_column_has_a_dtype(tmp_path):
    def edit(structure):
        text = json.dumps(structure)
        whole = json.dumps(
            structure["content"]["content"]["value"]["content"]["content"]["values"]
        )
        array = json.loads(whole)
        array["content"]["content"]["dtype"] = instance(OWN, construct_array_type=SCORER)
        return json.loads(text.replace(whole, json.dumps(array)))

    scaler = StandardScaler()
    scaler.value = pd.Series(pd.array([1, None]))
    path = rewritten(save_model(scaler, tmp_path / "model.dsink"), edit)
    with pytest.raises(ValueError, match="a column's dtype is a SmoothClipper"):
        load_model(path)


def test_a_model_with_an_attribute_in_place_of_a_method_is_not_saved(tmp_path):
    model = GaussianNB()
    model.predict = StandardScaler()
    with pytest.raises(ValueError, match=r"saved: .*GaussianNB has an attribute 'predict'"):
        save_model(model, tmp_path / "model.dsink")
    assert not [*tmp_path.iterdir()]


def test_values_named_as_methods_and_special_keys_of_values_are_kept(tmp_path):
    scaler = StandardScaler()
    scaler.transform, scaler.shares = np.arange(2), {"__background__": 0.5}
    loaded = load_model(save_model(scaler, tmp_path / "model.dsink"))
    np.testing.assert_array_equal(loaded.transform, [0, 1])
    assert loaded.shares == scaler.shares


def test_a_module_that_is_an_instance_is_kept(tmp_path):
    scaler = StandardScaler()
    scaler.loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    assert load_model(save_model(scaler, tmp_path / "m.dsink")).loss.label_smoothing == 0.1


def test_special_names_do_not_come_with_other_keys(tmp_path):
    scaler = StandardScaler()
    scaler.value = {1: 2, "__array_interface__": {"shape": ()}}
    path = save_model(scaler, tmp_path / "model.dsink")
    with pytest.raises(ValueError, match="a dict has a special name, '__array_interface__'"):
        load_model(path)
