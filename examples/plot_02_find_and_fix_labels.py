"""
Find wrong labels, fix them, train again
========================================

Digits with a long tail, and three labels in ten wrong.  We rank the labels by how surely they are
wrong, let an annotator check the first of them, and see what that is worth against checking the
same number of rows drawn at random.
"""

# %%
# First the tail, then the noise, here towards the large classes: the way tired people err.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.plots import LabelQualityDisplay

X, y = load_digits(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.5, stratify=y, random_state=0
)
X_train, y_true = make_long_tailed(X_train, y_train, 10, n_max=80, random_state=0)
y_given, _ = flip_labels(y_true, 0.3, kind="joint", random_state=0)
print(f"{len(y_true)} rows, {np.mean(y_given != y_true):.0%} of the labels wrong")

# %%
# The table is named by the index of ``X_train``.  ``quality`` sets the given label
# against the likeliest other class: at one half they are level, below 0.3 the row is flagged.

clf = DSinkClassifier(random_state=0).fit(X_train, y_given)
issues = clf.label_issues()
print(issues.head(8).round(2).drop(columns=["noise_proba", "imb_proba"]).to_string())

flagged = issues[issues["is_issue"]]
wrong = (y_given != y_true)[issues.index]
expected = issues.attrs["expected_precision"]["all"]
print(f"\n{len(flagged)} flagged; expected to be wrong: {expected:.0%}")
print(f"flagged and wrong: {wrong[flagged.index].mean():.0%} of the flagged rows, ", end="")
print(f"{wrong[flagged.index].sum() / wrong.sum():.0%} of the wrong ones")

# %%
# How the quality is spread, in classes of each size.  Two humps far apart are a good sign.

LabelQualityDisplay.from_issues(issues)
plt.show()

# %%
# The surest of all, as pictures.  Titles are "given -> suggested".

fig, axes = plt.subplots(2, 6, figsize=(9, 3.8), layout="constrained")
for ax, (row, issue) in zip(axes.flat, issues.head(12).iterrows(), strict=True):
    ax.imshow(X_train.loc[row].to_numpy().reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{issue['given_label']} → {issue['suggested_label']}", fontsize=11)
    ax.set_axis_off()
plt.show()

# %%
# An annotator has time for a third of the rows.  Whoever trains on the result, here a plain SVC
# that knows nothing of noise, is better off when they are the rows with the lowest quality.


def score_after_checking(rows):
    """Balanced accuracy of an SVC once somebody put the labels of some rows right."""
    y_checked = y_given.copy()
    y_checked[rows] = y_true[rows]
    svc = SVC(class_weight="balanced").fit(X_train, y_checked)
    return balanced_accuracy_score(y_test, svc.predict(X_test))


n_checked = len(y_true) // 3
rng = np.random.default_rng(0)
drawn = [score_after_checking(rng.choice(X_train.index, n_checked, False)) for _ in range(5)]
worst_first = score_after_checking(issues.index[:n_checked])
unchecked = balanced_accuracy_score(y_test, clf.predict(X_test))
print(f"SVC, labels as given:             {score_after_checking([]):.3f}")
print(f"SVC, {n_checked} rows checked, at random:   {np.mean(drawn):.3f}")
print(f"SVC, {n_checked} rows checked, worst first: {worst_first:.3f}")
print(f"SVC, all {len(y_true)} rows checked:       {score_after_checking(X_train.index):.3f}")
print(f"D-SINK, nothing checked:          {unchecked:.3f}")
