"""Any data give finite probabilities: random shapes, scales, class sizes, weights and labels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.tree import DecisionTreeClassifier

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.defaults import default_target
from sklearn_dsink.inputs import TabularEncoder


@st.composite
def problems(draw):
    """Draw features, labels and weights."""
    n_rows, n_features = draw(st.integers(2, 80)), draw(st.integers(1, 12))
    n_classes = draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    X = rng.normal(size=(n_rows, n_features))
    X *= 10.0 ** rng.uniform(-30, draw(st.sampled_from([-20, 0, 30])), size=n_features)
    if draw(st.booleans()):
        X[:, 0] = X[0, 0]
    if draw(st.booleans()):
        X[:, -1] = X[:, 0]
    if draw(st.booleans()):
        X = X[rng.integers(n_rows, size=n_rows)]
    y = np.minimum(rng.geometric(draw(st.sampled_from([0.2, 0.5, 0.8])), size=n_rows), n_classes)
    y[:2] = [1, 2]  # two classes at least
    labels = draw(st.sampled_from([np.arange(-5, 8), np.arange(13) * 10, list("abcdefghijklm")]))
    weight = None
    if draw(st.booleans()):
        weight = 10.0 ** rng.uniform(-6, 6, size=n_rows)
    return X, np.asarray(labels)[y], weight


@given(
    problems(),
    st.sampled_from([None, 2, 5]),
    st.booleans(),
    st.sampled_from([{}, {"class_marginal": "imb_aux"}, {"prior_correction": False}]),
)
def test_any_data_give_finite_probabilities(problem, cv, combine, recipe):
    X, y, weight = problem
    n_classes = len(np.unique(y))
    target = default_target(TabularEncoder().fit_transform(X), n_classes)
    clf = DSinkClassifier(
        ExtraTreesClassifier(3),
        DecisionTreeClassifier(class_weight="balanced", max_depth=3),
        target.set_params(max_epochs=3),
        cv=cv,
        combine=combine,
        warmup=1,
        random_state=0,
        **recipe,
    ).fit(X, y, sample_weight=weight)
    for rows in (clf.predict_proba(X), clf.surrogate_labels_):
        assert rows.shape == (len(X), n_classes)
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)
    assert set(clf.predict(X)) <= set(y)
    assert clf.transport_error_ <= clf.tol
