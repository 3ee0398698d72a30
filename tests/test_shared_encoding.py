"""Tables are encoded once for all fits of the auxiliaries, and learnt from as before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from imblearn.pipeline import Pipeline as ImbalancedPipeline
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.imbalance import KernelClassifier
from sklearn_dsink.inputs import TabularEncoder


def mixed_table(n_samples=120, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice(["no", "yes"], size=n_samples, p=[0.7, 0.3])
    hint = np.where(y == "yes", rng.integers(2, 4, n_samples), rng.integers(0, 3, n_samples))
    X = pd.DataFrame({"size": rng.normal(size=n_samples) + (y == "yes")})
    X["colour"] = np.array(["red", "green", "blue", "black"])[hint]
    X["seen"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 900, n_samples), "D")
    X.loc[::7, "size"] = np.nan
    return X, y


def small(**parameters):
    return DSinkClassifier(cv=3, random_state=0, **parameters)


@pytest.fixture
def n_encoder_fits(monkeypatch):
    fits, fit_transform = [], TabularEncoder.fit_transform

    def counted(self, X, y=None):
        fits.append(X.shape[0])
        return fit_transform(self, X, y)

    monkeypatch.setattr(TabularEncoder, "fit_transform", counted)
    return fits


@pytest.mark.parametrize("refine", [True, False])
def test_a_table_is_learnt_from_as_its_encoded_rows_are(refine):
    X, y = mixed_table()
    encoded = TabularEncoder().fit_transform(X)
    new, _ = mixed_table(seed=1)
    from_table = small(refine=refine).fit(X, y)
    from_rows = small(refine=refine).fit(encoded, y)
    expected = from_rows.predict_proba(TabularEncoder().fit(X).transform(new))
    np.testing.assert_allclose(from_table.predict_proba(new), expected, atol=1e-6)
    np.testing.assert_allclose(
        from_table.noise_aux_.predict_proba(new),
        from_rows.noise_aux_.predict_proba(TabularEncoder().fit(X).transform(new)),
        atol=1e-6,
    )


def test_auxiliaries_and_target_share_one_fit_of_the_encoder(n_encoder_fits):
    X, y = mixed_table()
    clf = small(refine=True).fit(X, y)
    assert n_encoder_fits == [len(X)]
    assert clf.noise_aux_[0] is clf.imb_aux_[0] is clf.encoder_


def test_a_table_is_encoded_once_for_a_prediction(monkeypatch):
    X, y = mixed_table()
    clf = small(refine=True).fit(X, y)
    asked, encode = [], TabularEncoder.encode
    monkeypatch.setattr(TabularEncoder, "encode", lambda *args: asked.append(1) or encode(*args))
    clf.predict(X)
    assert asked == [1]


@pytest.mark.parametrize("pipeline", [Pipeline, ImbalancedPipeline])
def test_a_pipeline_of_ones_own_comes_back_whole(pipeline, n_encoder_fits):
    X, y = mixed_table()
    own = pipeline([("columns", TabularEncoder()), ("bayes", GaussianNB())])
    clf = small(noise_aux=own, imb_aux=KernelClassifier(), refine=False)
    with pytest.raises(ValueError, match="imb_aux=KernelClassifier"):  # reads the table as it is
        clf.fit(X, y)
    n_encoder_fits.clear()
    clf.set_params(imb_aux=None).fit(X, y)
    assert len(n_encoder_fits) == 1
    assert type(clf.noise_aux_) is pipeline
    assert list(clf.noise_aux_.named_steps) == ["columns", "bayes"]
    check_is_fitted(clf.noise_aux_)
    np.testing.assert_allclose(
        clf.noise_aux_.predict_proba(X), own.fit(X, y).predict_proba(X), atol=1e-6
    )


def test_parameters_of_ones_own_pipeline_and_encoder_are_kept(n_encoder_fits, tmp_path):
    X, y = mixed_table()
    steps = [("columns", TabularEncoder()), ("bayes", GaussianNB())]
    own = Pipeline(steps, memory=str(tmp_path))
    clf = small(noise_aux=own, refine=False).fit(X, y)
    assert clf.noise_aux_.memory == str(tmp_path)
    assert len(n_encoder_fits) == 1
    n_encoder_fits.clear()
    seeded = make_pipeline(TabularEncoder(random_state=3), GaussianNB())
    clf.set_params(noise_aux=seeded).fit(X, y)
    assert clf.noise_aux_[0].random_state == 3
    assert clf.noise_aux_[0] is not clf.encoder_
    assert len(n_encoder_fits) == 1 + 4, "shared by the default f_L and the target; own ones"


def test_wide_sparse_rows_are_projected_once_and_trees_see_their_components(n_encoder_fits):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    X = sparse.random(300, 2000, density=0.02, format="lil", random_state=0)
    X[:, :40] = (rng.random((300, 40)) < 0.1 + 0.3 * y[:, None]).astype(float)
    X = sparse.csr_array(X)
    clf = small(refine=False).fit(X, y)
    assert n_encoder_fits == [300]
    assert clf.noise_aux_[0] is clf.encoder_
    assert clf.noise_aux_[-1].max_features == 16, "the root of 256, not of 2,000"
    assert clf.score(X, y) > 0.9


def test_steps_that_ask_for_frames_get_them():
    X, y = mixed_table()
    columns = ColumnTransformer([("scaled", StandardScaler(), ["size"])], remainder="passthrough")
    own = make_pipeline(TabularEncoder(), columns, GaussianNB()).set_output(transform="pandas")
    assert small(noise_aux=own, refine=False).fit(X, y).score(X, y) > 0.8


def test_rows_of_no_weight_have_no_say_in_the_columns():
    X, y = mixed_table()
    weight = np.ones(len(X))
    weight[:10] = 0
    X.loc[:9, "colour"] = "violet"
    whole = small(refine=False).fit(X, y, sample_weight=weight).noise_aux_[0]
    without = small(refine=False).fit(X[10:], y[10:]).noise_aux_[0]
    np.testing.assert_array_equal(whole.transform(X), without.transform(X))


def test_what_cannot_be_encoded_is_refused_with_advice():
    X, y = mixed_table()
    X["picture"] = [np.zeros(3)] * len(X)
    with pytest.raises(ValueError, match=r"cannot turn into numbers: .* Encode or drop them"):
        small().fit(X, y)


def test_complex_numbers_are_refused_by_name():
    X, y = mixed_table()
    X["wave"] = np.arange(len(X)) * 1j
    with pytest.raises(ValueError, match="Complex data not supported: column 'wave'"):
        small().fit(X, y)
