"""
Quickstart: learn from long-tailed, mislabelled digits
======================================================

The digits of scikit-learn are made long-tailed (the largest class has ten times the rows of the
smallest) and 40 % of the labels are moved to another class.  We fit D-SINK on what is left, and
compare it with what it is made of on a clean, balanced test part.
"""

# %%
# Long tail first, then the noise.  ``y_given`` is all that a classifier may see.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split

from sklearn_dsink import DSinkClassifier, NetClassifier
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.metrics import shot_accuracy_score
from sklearn_dsink.transport import solve


def make_data(seed):
    """Digits with a long tail and wrong labels, and a clean balanced test part."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=seed)
    X, y = make_long_tailed(X, y, imbalance_factor=10, random_state=seed)
    y_given, _ = flip_labels(y, 0.4, kind="symmetric", random_state=seed)
    return X, y, y_given, X_test, y_test


# %%
# Two lines are all it takes.  Everything else in this file is there to compare.

X, y_true, y_given, X_test, y_test = make_data(seed=0)
clf = DSinkClassifier(random_state=0).fit(X, y_given)
print(f"balanced accuracy {balanced_accuracy_score(y_test, clf.predict(X_test)):.3f}")

# %%
# The comparison: both auxiliaries alone, a net of the target's shape trained on the given labels,
# and "f_N with refitted class offsets", which is where D-SINK without a base loss would end.


def offsets_prediction(clf, X_test):
    """Predict by f_N with class offsets that give it D-SINK's class shares, for equal classes."""
    offsets = solve(np.log(clf.noise_aux_proba_ + 1e-6), clf.class_marginal_).potentials
    offsets -= np.log(clf.class_marginal_)
    scores = np.log(clf.noise_aux_.predict_proba(X_test) + 1e-6) + offsets
    return clf.classes_[scores.argmax(axis=1)]


def repaired_share(clf, y_given, y_true):
    """Share of the wrong training labels whose surrogate label is right again."""
    wrong = y_given != y_true
    suggested = clf.classes_[clf.surrogate_labels_.argmax(axis=1)]
    return np.mean(suggested[wrong] == y_true[wrong])


rows, repaired = [], []
for seed in range(3):
    if seed > 0:
        X, y_true, y_given, X_test, y_test = make_data(seed)
        clf = DSinkClassifier(random_state=seed).fit(X, y_given)
    plain_net = NetClassifier(random_state=seed).fit(X, y_given)
    repaired.append(repaired_share(clf, y_given, y_true))
    for method, prediction in {
        "a net, trained plainly": plain_net.predict(X_test),
        "noise_aux alone (f_N)": clf.noise_aux_.predict(X_test),
        "imb_aux alone (f_L)": clf.imb_aux_.predict(X_test),
        "f_N with refitted class offsets": offsets_prediction(clf, X_test),
        "D-SINK": clf.predict(X_test),
    }.items():
        shots = shot_accuracy_score(y_test, prediction, y_train=y_true)
        balanced = balanced_accuracy_score(y_test, prediction)
        rows.append({"method": method, "seed": seed, "balanced": balanced, **shots})

results = pd.DataFrame(rows).drop(columns="seed").groupby("method", sort=False)
mean, spread = results.mean(), results.std()
print("accuracy on the clean balanced test part, mean of 3 seeds")
print(mean.round(3).to_string())
print(f"wrong training labels (40 %) whose surrogate label is right: {np.mean(repaired):.1%}")

# %%
# Left, accuracy by class size: many-shot classes have more than 100 clean training rows, few-shot
# classes fewer than 20.  Right, the class shares of the last seed: the noise has hidden the tail,
# the surrogate labels bring it back.

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
positions = np.arange(len(mean.columns))
colors = ["#bbbbbb", "#88ccee", "#44aa99", "#ddcc77", "#cc3311"]  # colour-blind safe
for number, (method, color) in enumerate(zip(mean.index, colors, strict=True)):
    left.bar(
        positions + (number - 2) * 0.16,
        mean.loc[method],
        width=0.15,
        yerr=spread.loc[method],
        color=color,
        label=method,
    )
left.set_xticks(positions, mean.columns)
left.set(ylabel="accuracy", ylim=(0, 1), title="Digits, imbalance 10, 40 % wrong labels")
left.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)

order = np.argsort(-np.bincount(y_true))
for label, share, style in (
    ("given", np.bincount(y_given) / len(y_given), "s:"),
    ("true", np.bincount(y_true) / len(y_true), "k-"),
    ("surrogate", clf.surrogate_labels_.mean(axis=0), "o--"),
):
    right.plot(share[order], style, label=label)
right.set_xticks(range(len(order)), clf.classes_[order])
right.set(xlabel="class, largest first", ylabel="share of the training rows", ylim=(0, None))
right.legend()

path = Path("quickstart.png")
fig.savefig(path, dpi=150)
print(f"picture: {path}")
