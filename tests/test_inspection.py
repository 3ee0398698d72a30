"""Label issues: the ranking finds wrong labels, in the tail too, and the table says what it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sklearn_dsink import inspection
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.inspection import (
    FLAGGED_BELOW,
    class_groups,
    class_summary,
    find_label_issues,
    noisy_pairs,
)
from sklearn_dsink.label_model import smooth
from sklearn_dsink.noise_model import estimate_noise_matrix, label_posterior


@pytest.fixture(scope="module")
def long_tail():
    """Give a long-tailed problem whose noisy posterior is known, as out-of-fold trees would."""
    rng = np.random.default_rng(0)
    sizes = np.array([400, 120, 40, 15])
    true = np.repeat(np.arange(4), sizes)
    given_label = true.copy()
    flipped = rng.random(len(true)) < 0.2
    given_label[flipped] = (true[flipped] + rng.integers(1, 4, flipped.sum())) % 4
    logits = rng.normal(size=(len(true), 4)) + 2.0 * np.eye(4)[true] + np.log(sizes) / 2
    clean = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    proba = clean @ np.where(np.eye(4, dtype=bool), 0.8, 0.2 / 3)
    q = label_posterior(proba, given_label, estimate_noise_matrix(given_label, proba))
    return true, given_label, proba, q


def test_surer_labels_come_later_and_the_index_is_the_users(long_tail):
    true, y, proba, q = long_tail
    names = [f"row-{i}" for i in range(len(y))]
    issues = find_label_issues(y, q, noise_proba=proba, imb_proba=proba, index=names)
    assert issues["quality"].is_monotonic_increasing
    assert issues["quality"].between(0, 1).all()
    by_row = issues.loc[names]
    assert (by_row["given_label"].to_numpy() == y).all()
    assert roc_auc_score(true != y, 1 - by_row["quality"]) > 0.9
    assert np.allclose(by_row["noise_proba"], proba[np.arange(len(y)), y])


def test_the_tail_is_ranked_better_than_by_confidence_in_the_given_label():
    ours, confidence = [], []
    for seed in range(3):
        X, y_true = make_long_tailed(
            *load_digits(return_X_y=True), 20, n_max=100, random_state=seed
        )
        y, _ = flip_labels(y_true, 0.3, kind="joint", random_state=seed)
        proba = cross_val_predict(
            ExtraTreesClassifier(50, min_samples_leaf=2, random_state=seed),
            X, y, cv=StratifiedKFold(3), method="predict_proba",
        )  # fmt: skip
        q = label_posterior(proba, y, estimate_noise_matrix(y, proba))
        issues = find_label_issues(y, q, noise_proba=proba).sort_index()
        tail = y >= 6
        wrong = (y != y_true)[tail]
        ours.append(average_precision_score(wrong, 1 - issues["quality"][tail]))
        own = proba[np.arange(len(y)), y]
        confidence.append(average_precision_score(wrong, 1 - own[tail]))
        flagged = issues["is_issue"].to_numpy()[tail]
        assert flagged[wrong].mean() > 0.65
        assert flagged[~wrong].mean() < 0.3
    assert np.mean(ours) > np.mean(confidence) + 0.01


def test_quality_sets_the_given_label_against_its_strongest_rival(long_tail):
    _, y, proba, q = long_tail
    rows = np.arange(len(y))
    issues = find_label_issues(y, q, noise_proba=proba).sort_index()
    assert np.allclose(issues["suggested_proba"], q.max(axis=1))
    assert (issues["is_issue"] == (issues["quality"] < FLAGGED_BELOW)).all()
    # A draw is where both views together like another class as much.
    both = q * smooth(proba)
    assert ((issues["quality"] >= 0.5) == (both[rows, y] == both.max(axis=1))).all()
    alone = find_label_issues(y, q).sort_index()["quality"].to_numpy()
    rival = np.where(np.eye(4)[y] > 0, -1, q).max(axis=1)
    assert np.allclose(alone, q[rows, y] / (q[rows, y] + rival))
    # An auxiliary that has no opinion leaves the order, and who wins, to the surrogate labels.
    level = find_label_issues(y, q, noise_proba=np.full_like(q, 0.25)).sort_index()
    assert np.allclose(level["quality"], 1 / (1 + np.sqrt(1 / alone - 1)))


def test_two_classes_and_no_auxiliary_make_quality_the_probability_of_the_label():
    q = np.array([[0.9, 0.1], [0.3, 0.7], [1.0, 0.0], [1.0, 0.0]])
    issues = find_label_issues([0, 0, 0, 1], q).sort_index()
    assert np.allclose(issues["quality"], [0.9, 0.3, 1.0, 0.0])


def test_quality_is_found_block_by_block(long_tail, monkeypatch):
    _, y, proba, q = long_tail
    expected = find_label_issues(y, q, noise_proba=proba)
    monkeypatch.setattr(inspection, "_BLOCK_ROWS", 7)
    pd.testing.assert_frame_equal(find_label_issues(y, q, noise_proba=proba), expected)


def test_quality_falls_with_an_auxiliary_that_disagrees():
    q = np.array([[0.4, 0.6]])
    qualities = [
        find_label_issues([0], q, classes=[0, 1], noise_proba=[[p, 1 - p]])["quality"].iloc[0]
        for p in (0.95, 0.6, 0.4, 0.05)
    ]
    assert np.all(np.diff(qualities) < 0)
    assert qualities[1] == pytest.approx(0.5, abs=0.01)


def test_expected_precision_does_not_promise_too_much_in_any_group(long_tail):
    true, y, proba, q = long_tail
    issues = find_label_issues(y, q, noise_proba=proba)
    wrong = pd.Series(true != y)[issues.index]
    expected = issues.attrs["expected_precision"]
    assert set(expected) == {"all", "many", "medium", "few"}
    for group in set(issues["group"]):
        flagged = issues["is_issue"] & (issues["group"] == group)
        assert 0.5 < expected[group] < wrong[flagged].mean() + 0.05


def test_a_lower_threshold_flags_a_surer_subset(long_tail):
    _, y, proba, q = long_tail
    default = find_label_issues(y, q, noise_proba=proba)
    strict = find_label_issues(y, q, noise_proba=proba, threshold=0.15)
    assert set(strict.index[strict["is_issue"]]) < set(default.index[default["is_issue"]])
    assert strict.attrs["expected_precision"]["all"] > default.attrs["expected_precision"]["all"]
    assert not find_label_issues(y, q, threshold=0)["is_issue"].any()


def test_groups_go_by_the_estimated_counts_unless_told_otherwise():
    y = ["a"] * 30 + ["b"] * 10
    surrogate = np.tile([0.9, 0.1], (40, 1))  # the estimate: 36 of a, 4 of b
    groups = find_label_issues(y, surrogate).groupby("given_label")["group"].first()
    assert groups.to_dict() == {"a": "medium", "b": "few"}
    given_counts = find_label_issues(y, surrogate, class_counts=[300, 200])
    assert set(given_counts["group"]) == {"many"}
    assert set(find_label_issues(y, surrogate, class_counts="given")["group"]) == {"medium", "few"}


def test_a_pandas_index_is_kept_and_an_absent_class_is_allowed():
    y = pd.Series(["x", "x", "z"], index=pd.Index([7, 8, 7], name="id"))
    surrogate = np.array([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.0, 0.0, 1.0]])
    issues = find_label_issues(y, surrogate, classes=["x", "y", "z"])
    assert issues.index.name == "id"
    assert issues.index[0] == 7
    assert issues["suggested_label"].iloc[0] == "y"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"classes": ["a"]}, "not among the 1 classes"),
        ({"classes": ["a", "b", "c"]}, "surrogate_labels has 2 columns and there are 3 classes"),
        ({"surrogate_labels": [[0.5, 0.6], [1, 0]]}, "row 0 .*sums to 1.1"),
        ({"noise_proba": [[0.5, 0.5]]}, "inconsistent numbers of samples"),
        ({"imb_proba": [[0.5, 0.5], [1.5, -0.5]]}, "imb_proba must hold probabilities"),
        ({"index": [1]}, "index has 1 entries and y has 2"),
        ({"threshold": 2}, "threshold must be a number in"),
        ({"class_counts": "clean"}, "class_counts must be"),
        ({"class_counts": [1]}, r"class_counts has shape \(1,\), expected \(2,\)"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"y": ["a", "b"], "surrogate_labels": [[0.5, 0.5], [1, 0]], **change}
    with pytest.raises(ValueError, match=message):
        find_label_issues(**arguments)


@pytest.mark.parametrize(
    "y",
    [
        np.array([0.0, np.nan]),
        np.array(["a", None], dtype=object),
        pd.Series(["a", pd.NA], dtype="string"),
    ],
)
def test_a_missing_label_is_no_class(y):
    surrogate = [[0.9, 0.1], [0.1, 0.9]]
    for find in (find_label_issues, class_summary):
        with pytest.raises(ValueError, match=r"1 of 2 labels are missing \(first: row 1\)"):
            find(y, surrogate)


@pytest.mark.parametrize("classes", [None, [0, 1], np.array([0, 1], dtype=np.float16)])
def test_labels_of_float16_are_those_of_float64(classes):
    surrogate = [[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]]
    y = np.array([0, 1, 1])
    issues = find_label_issues(y.astype(np.float16), surrogate, classes=classes)
    assert issues["given_label"].tolist() == [1, 0, 1]
    summary = class_summary(y.astype(np.float16), surrogate, classes=classes)
    pd.testing.assert_frame_equal(
        summary, class_summary(y.astype(float), surrogate), check_index_type=False
    )


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_columns_named_by_the_classes_stand_in_their_order(frame):
    y, surrogate = ["a", "b"], frame({"a": [0.9, 0.2], "b": [0.1, 0.8]})
    turned = surrogate[["b", "a"]]
    message = r"has the columns \['b', 'a'\], and the classes are \['a', 'b'\]"
    with pytest.raises(ValueError, match="surrogate_labels " + message):
        find_label_issues(y, turned)
    with pytest.raises(ValueError, match="imb_proba " + message):
        find_label_issues(y, surrogate, imb_proba=turned)
    assert find_label_issues(y, surrogate)["quality"].tolist() == [0.8, 0.9]
    assert find_label_issues(y, turned, classes=["b", "a"])["quality"].tolist() == [0.8, 0.9]


@pytest.mark.parametrize("table", [pd.DataFrame, lambda q: pa.table({"p": q[:, 0], "q": q[:, 1]})])
def test_columns_of_other_names_are_read_by_position(table):
    q = np.array([[0.1, 0.9], [0.8, 0.2]])
    issues = find_label_issues([0, 1], table(q), classes=[1, 0])
    assert issues["quality"].tolist() == [0.8, 0.9]
    with pytest.raises(ValueError, match=r"columns \[1, 0\], and the classes are \[0, 1\]"):
        find_label_issues([0, 1], pd.DataFrame(q)[[1, 0]])


def test_class_summary_counts_and_orders_by_the_estimate(long_tail):
    _, y, proba, q = long_tail
    issues = find_label_issues(y, q, noise_proba=proba)
    summary = class_summary(y, q, issues=issues)
    assert summary["given"].sum() == len(y)
    assert summary["estimated"].sum() == pytest.approx(len(y))
    assert summary["estimated"].is_monotonic_decreasing
    assert summary["issues"].sum() == issues["is_issue"].sum()


def test_noisy_pairs_hold_all_mass_off_the_diagonal():
    matrix = np.array([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 0.5, 0.5]])
    marginal = np.array([0.5, 0.3, 0.2])
    pairs = noisy_pairs(matrix, marginal)
    assert len(pairs) == 6
    assert pairs["share"].sum() == pytest.approx(1 - marginal @ np.diag(matrix))
    assert pairs.iloc[0][["true_label", "given_label"]].tolist() == [0, 1]
    with pytest.raises(ValueError, match="disagree"):
        noisy_pairs(matrix, marginal, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"class_marginal has shape \(2,\), expected \(3,\)"):
        noisy_pairs(matrix, [0.5, 0.5])


def test_counts_and_shares_are_read_by_label():
    """value_counts has the largest class first, and so has a Series of shares."""
    y = pd.Series(["a"] * 10 + ["b"] * 190)
    surrogate = np.where((y == "b").to_numpy()[:, None], [0.1, 0.9], [0.9, 0.1])
    for counts in (y.value_counts(), {"b": 190, "a": 10}, [10, 190]):
        issues = find_label_issues(y, surrogate, class_counts=counts)
        groups = issues.drop_duplicates("given_label").set_index("given_label")["group"]
        assert groups.to_dict() == {"a": "few", "b": "many"}
    matrix = [[0.9, 0.1], [0.5, 0.5]]
    by_label = noisy_pairs(matrix, pd.Series({"b": 0.8, "a": 0.2}), classes=["a", "b"])
    pd.testing.assert_frame_equal(by_label, noisy_pairs(matrix, [0.2, 0.8], classes=["a", "b"]))


def test_rows_in_another_order_are_refused():
    y = pd.Series(["a", "b", "b"], index=["x", "y", "z"])
    surrogate = pd.DataFrame([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], index=y.index)
    expected = find_label_issues(y, surrogate)
    with pytest.raises(ValueError, match=r"rows of y in another order.*surrogate_labels\.loc"):
        find_label_issues(y[::-1], surrogate)
    with pytest.raises(ValueError, match="noise_proba has the rows of y in another order"):
        find_label_issues(y, surrogate, noise_proba=surrogate[::-1])
    # Names of other rows say nothing about their order.
    unnamed = surrogate.reset_index(drop=True)
    pd.testing.assert_frame_equal(find_label_issues(y, unnamed), expected)


def test_class_groups_reject_crossed_bounds():
    with pytest.raises(ValueError, match="must not exceed"):
        class_groups([1, 2], many=5, few=10)


def test_names_of_several_levels_keep_them():
    q = np.array([[0.9, 0.1], [0.2, 0.8]])
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["batch", "row"])
    issues = find_label_issues([1, 1], q, classes=[0, 1], index=index)
    assert list(issues.index) == [("a", 1), ("b", 2)]
    assert issues.index.names == ["batch", "row"]


def test_a_class_named_twice_is_refused():
    with pytest.raises(ValueError, match="classes names 1 twice"):
        find_label_issues([1, 1], np.full((2, 2), 0.5), classes=[1, 1])


def test_the_table_says_what_each_view_says():
    q = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    noise, imb = np.array([[0.3, 0.7], [0.8, 0.2], [0.1, 0.9]]), q[:, ::-1]
    issues = find_label_issues(
        ["a", "b", "b"], q, noise_proba=noise, imb_proba=imb, threshold=0.25
    ).sort_index()
    assert issues["suggested_label"].tolist() == ["a", "a", "b"]
    assert issues["noise_label"].tolist() == ["b", "a", "b"]
    assert issues["imb_label"].tolist() == ["b", "b", "a"]
    np.testing.assert_allclose(issues["noise_proba"], [0.3, 0.2, 0.9])
    np.testing.assert_allclose(issues["imb_proba"], [0.1, 0.6, 0.2])
    assert issues.attrs["threshold"] == 0.25


def test_an_auxiliary_that_rules_a_label_out_does_not_make_it_impossible():
    q, noise = np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]])
    quality = find_label_issues([0], q, classes=[0, 1], noise_proba=noise)["quality"][0]
    assert quality == pytest.approx(1 / (1 + np.sqrt(0.995 / 0.005)))


def test_ties_keep_the_order_of_the_rows_and_a_draw_is_not_below_one_half():
    rows = np.tile([[0.5, 0.5], [0.2, 0.8]], (200, 1))
    issues = find_label_issues(np.zeros(400, int), rows, classes=[0, 1], threshold=0.5)
    assert issues.index.tolist() == [*range(1, 400, 2), *range(0, 400, 2)]
    assert issues["is_issue"].sum() == 200


def test_names_that_occur_twice_say_nothing_about_the_order_of_rows():
    y = pd.Series(["a", "b", "b"], index=["x", "x", "y"])
    q = pd.DataFrame([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], index=["x", "y", "x"])
    assert find_label_issues(y, q)["quality"].tolist() == [0.7, 0.8, 0.9]


def test_class_summary_groups_by_the_estimate_and_takes_a_class_that_nobody_was_given():
    q = np.tile([[0.1, 0.9, 0.0]], (150, 1))
    summary = class_summary(np.zeros(150, int), q, classes=[0, 1, 2])
    assert summary["group"].to_dict() == {1: "many", 0: "few", 2: "few"}
    assert summary["given"].to_dict() == {1: 0, 0: 150, 2: 0}
    assert summary["issue_rate"].to_dict() == {1: 0, 0: 1, 2: 0}
