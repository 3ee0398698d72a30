"""Features and labels in any container give what plain arrays give."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from _quick import make_blobs, needs_polars_names, quick
from sklearn import config_context
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.inputs import TabularEncoder
from sklearn_dsink.persistence import load_model, save_model

X, CODES, _ = make_blobs(flip=0.1)
NAMES = np.array(["ant", "bee", "cow"])
Y = NAMES[CODES]
FRAME = pd.DataFrame(X, columns=list("abcd"))
PLAIN = quick().fit(X, Y).predict_proba(X)


def memmap(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


@pytest.mark.parametrize(
    "container",
    [
        lambda X: X.tolist(),
        lambda X: X.astype(object),
        lambda X: np.asfortranarray(X),
        torch.as_tensor,
        pd.DataFrame,
        lambda X: FRAME.convert_dtypes(),
        lambda X: FRAME.convert_dtypes(dtype_backend="pyarrow"),
        pytest.param(lambda X: pl.DataFrame(FRAME), marks=needs_polars_names),
    ],
    ids=["lists", "objects", "fortran", "torch", "pandas", "nullable", "pyarrow", "polars"],
)
def test_features(container):
    found = quick().fit(container(X), Y).predict_proba(container(X))
    np.testing.assert_allclose(found, PLAIN, rtol=1e-4, atol=1e-6)


def test_embeddings_as_a_net_gives_them():
    tensor = torch.tensor(X, dtype=torch.bfloat16, requires_grad=True)
    found = quick().fit(tensor, Y).predict_proba(tensor)
    expected = tensor.detach().float().numpy()
    np.testing.assert_array_equal(found, quick().fit(expected, Y).predict_proba(expected))


def test_features_in_a_file(tmp_path):
    features = memmap(X, tmp_path)
    found = quick().fit(features, Y).predict_proba(features)
    np.testing.assert_array_equal(found, PLAIN)


@pytest.mark.skipif(
    not any(map(find_spec, ["sklearn.externals.array_api_compat", "array_api_compat"])),
    reason="this scikit-learn dispatches arrays with array_api_compat only",
)
def test_tensors_where_scikit_learn_dispatches_arrays(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with config_context(array_api_dispatch=True):
        tensors = torch.as_tensor(X), torch.as_tensor(CODES)
        clf = quick().fit(*tensors, sample_weight=torch.ones(len(X)))
        found = clf.predict_proba(tensors[0])
    np.testing.assert_allclose(found, PLAIN, rtol=1e-4, atol=1e-6)


def test_tables_of_pyarrow_say_what_to_do():
    with pytest.raises(TypeError, match=r"pyarrow Table: give X\.to_pandas\(\)"):
        quick().fit(pa.table(FRAME), Y)


def mixed():
    """Numbers with gaps, categories, flags and dates, the dates with gaps too."""
    kind = np.where(X[:, 2] > 0, "large", "small").astype(object)
    kind[5] = None
    day = pd.Series(pd.date_range("2024-01-01", periods=len(X)))
    return pd.DataFrame(
        {
            "size": X[:, 0],
            "gaps": np.where(X[:, 1] > 3, np.nan, X[:, 1]),
            "kind": kind,
            "flag": X[:, 3] > 0,
            "day": day.where(day.index != 7),
            "moment": day.dt.tz_localize("Europe/Rome"),
        }
    )


def fit_mixed(frame):
    auxiliary = make_pipeline(TabularEncoder(), GaussianNB())
    n_inputs = TabularEncoder().fit(frame).n_features_out_
    clf = quick(n_inputs, noise_aux=auxiliary, imb_aux=auxiliary, cv=None)
    return clf.fit(frame, Y)


@pytest.mark.parametrize(
    "library",
    [
        lambda frame: frame,
        lambda frame: frame.astype({"kind": "category"}),
        lambda frame: frame.convert_dtypes(),
        lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
        pytest.param(pl.from_pandas, marks=needs_polars_names),
    ],
    ids=["numpy", "category", "nullable", "pyarrow", "polars"],
)
def test_mixed_frames(library):
    frame = library(mixed())
    proba = fit_mixed(frame).predict_proba(frame)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_dates_of_pyarrow_are_encoded_as_those_of_numpy():
    dates = mixed()[["day", "moment"]]
    arrow = dates.convert_dtypes(dtype_backend="pyarrow")
    arrow["date"] = dates["date"] = dates["day"]
    arrow["date"] = arrow["date"].astype("date32[pyarrow]")
    assert {type(dtype) for dtype in arrow.dtypes} == {pd.ArrowDtype}
    arrow.index = dates.index = dates.index[::-1] + 5
    encoder = TabularEncoder().fit(arrow)
    np.testing.assert_array_equal(encoder.transform(arrow), TabularEncoder().fit_transform(dates))


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_dates_and_durations_as_objects_are_encoded_as_numpys(zone):
    dates = mixed()[["day", "moment"]]
    dates["day"] = dates["day"].dt.tz_localize(zone)
    dates["while"] = dates["day"] - dates["day"].min()
    dates.loc[3, "day"] = pd.NaT
    objects = dates.astype(object)
    assert set(objects.dtypes) == {np.dtype(object)}
    found = TabularEncoder().fit(objects).transform(objects)
    np.testing.assert_array_equal(found, TabularEncoder().fit_transform(dates))


def test_dates_of_several_time_zones_are_moments():
    zones = ["UTC", "Asia/Tokyo", "America/Lima"]
    moments = pd.date_range("2024-01-01", periods=30, freq="37h", tz="UTC")
    apart = [moment.tz_convert(zones[i % 3]) for i, moment in enumerate(moments)]
    frame = pd.DataFrame({"moment": pd.Series(apart, dtype=object)})
    expected = TabularEncoder().fit_transform(pd.DataFrame({"moment": moments}))
    np.testing.assert_array_equal(TabularEncoder().fit_transform(frame), expected)


NAMES_THAT_ARE_NO_TEXTS = {
    "numbers": [5, 3, 1, 0],
    "floats": [0.5, 1.5, 2.5, 3.5],
    "dates": pd.date_range("2024-01-01", periods=4),
    "levels": pd.MultiIndex.from_product([["u", "v"], [1, "b"]]),
}


def by_name(frame):
    """Columns as an auxiliary of one's own takes them."""
    return frame[[frame.columns[0], frame.columns[2], frame.columns[3]]].to_numpy()


@pytest.mark.parametrize("names", NAMES_THAT_ARE_NO_TEXTS.values(), ids=NAMES_THAT_ARE_NO_TEXTS)
@pytest.mark.parametrize("with_texts", [False, True])
def test_columns_keep_names_that_are_no_texts(names, with_texts):
    frame = pd.DataFrame(X, columns=list("abcd"))
    if with_texts:
        frame["b"] = np.where(X[:, 1] > 3, "high", "low")
    auxiliary = make_pipeline(FunctionTransformer(by_name), GaussianNB())
    n_inputs = TabularEncoder().fit(frame).n_features_out_
    expected = quick(n_inputs, noise_aux=auxiliary, imb_aux=auxiliary).fit(frame, Y)
    named = frame.set_axis(names, axis=1)
    clf = quick(n_inputs, noise_aux=auxiliary, imb_aux=auxiliary).fit(named, Y)
    np.testing.assert_array_equal(clf.predict_proba(named), expected.predict_proba(frame))
    with pytest.raises(ValueError, match="give them in that order"):
        clf.predict(named.iloc[:, ::-1])
    with pytest.warns(UserWarning, match="X has feature names, but DSinkClassifier"):
        np.testing.assert_array_equal(clf.predict(frame), expected.predict(frame))


@pytest.mark.parametrize("names", NAMES_THAT_ARE_NO_TEXTS.values(), ids=NAMES_THAT_ARE_NO_TEXTS)
def test_a_saved_model_knows_names_that_are_no_texts(names, tmp_path):
    frame = pd.DataFrame(X, columns=names)
    clf = DSinkClassifier(GaussianNB(), GaussianNB(), cv=2, random_state=0).fit(frame, Y)
    loaded = load_model(save_model(clf, tmp_path / "model.dsink"))
    np.testing.assert_array_equal(loaded.predict_proba(frame), clf.predict_proba(frame))
    with pytest.raises(ValueError, match="give them in that order"):
        loaded.predict(frame.iloc[:, ::-1])


def test_more_epochs_on_rows_whose_columns_are_numbered_from_1():
    frame = pd.DataFrame(X, columns=[1, 2, 3, 4])
    clf = quick(warm_start=True).fit(frame, Y)
    n_epochs = len(clf.history_)
    assert len(clf.fit(frame, Y).history_) > n_epochs


def test_arrays_of_objects_after_a_frame_as_explainers_pass_them():
    frame = mixed().drop(columns=["day", "moment"])
    clf = fit_mixed(frame)
    array = frame.to_numpy(dtype=object)
    warns = {"expected_warning": UserWarning, "match": "does not have valid feature names"}
    with pytest.warns(**warns):
        found = clf.predict_proba(array)
    with pytest.warns(**warns), pytest.raises(ValueError, match="3 features, but DSinkClassifier"):
        clf.predict(array[:, :3])
    np.testing.assert_allclose(found, clf.predict_proba(frame), rtol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        list(Y),
        Y.astype(object),
        pd.Series(Y),
        pd.Series(Y, dtype="string"),
        pd.Series(Y, dtype="string[pyarrow]"),
        pd.Series(Y, dtype="category"),
        pl.Series(Y),
        pl.Series(Y, dtype=pl.Categorical),
        pl.Series(Y, dtype=pl.Enum(NAMES.tolist())),
        pa.array(Y),
        CODES,
        CODES.astype(np.uint8),
        CODES.astype(float),
        pd.Series(CODES, dtype="Int64"),
        pd.Series(CODES, dtype="int64[pyarrow]"),
        pl.Series(CODES),
        torch.as_tensor(CODES),
    ],
    ids=lambda labels: f"{type(labels).__module__}-{getattr(labels, 'dtype', '')}",
)
def test_labels(labels):
    clf = quick().fit(X, labels)
    expected = NAMES if isinstance(clf.classes_[0], str) else range(3)
    np.testing.assert_array_equal(clf.classes_, expected)
    np.testing.assert_array_equal(clf.predict_proba(X), PLAIN)


@pytest.mark.parametrize("dtype", [bool, "boolean", "bool[pyarrow]"])
def test_labels_of_two_values(dtype):
    y = pd.Series(CODES > 0, dtype=dtype)
    clf = quick(4, 2).fit(X, y)
    np.testing.assert_array_equal(clf.classes_, [False, True])
    np.testing.assert_array_equal(
        clf.predict_proba(X), quick(4, 2).fit(X, CODES > 0).predict_proba(X)
    )


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(Y, dtype="string").where(CODES < 2),
        pd.Series(CODES, dtype="Int64").where(CODES < 2),
        pl.Series([None, *Y[1:]]),
        np.array([np.nan, *CODES[1:]]),
    ],
    ids=["string", "Int64", "polars", "nan"],
)
def test_labels_that_are_missing(labels):
    with pytest.raises(ValueError, match=r"y contains NaN: .* Drop these rows, or label them"):
        quick().fit(X, labels)
