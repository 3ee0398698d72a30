"""
Classifiers for long-tailed classes, alone and inside D-SINK
============================================================

The classifiers of :mod:`sklearn_dsink.imbalance` are scikit-learn classifiers of their own.  We
put them beside a plainly trained net on digits with a long tail, first with clean labels and then
with wrong ones, which is where they need a partner.
"""

# %%
# The largest class has 50 times the rows of the smallest.  Test rows are clean and balanced.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from imblearn.ensemble import BalancedRandomForestClassifier
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_dsink import DSinkClassifier, NetClassifier
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.imbalance import (
    CRTClassifier,
    LDAMClassifier,
    LogitAdjustedClassifier,
    PriorCorrectedClassifier,
)
from sklearn_dsink.metrics import make_shot_scorer, shot_accuracy_score

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.4, stratify=y, random_state=0)
X, y_true = make_long_tailed(X, y, imbalance_factor=50, n_min=3, random_state=0)
y_given, noise_matrix = flip_labels(y_true, 0.2, kind="joint", random_state=0)
print("rows of each class:", np.bincount(y_true))

# %%
# The same net with different losses or classifiers on top; any scikit-learn classifier divided by
# the class prior it has learned; and imbalanced-learn's forest, which needs no wrapper.

net = {"max_epochs": 20, "random_state": 0}
methods = {
    "plain net": NetClassifier(**net),
    "logit adjustment": LogitAdjustedClassifier(**net),
    "LDAM-DRW": LDAMClassifier(**net),
    "cRT": CRTClassifier(**net),
    "trees, prior-corrected": PriorCorrectedClassifier(random_state=0),
    "balanced random forest": BalancedRandomForestClassifier(random_state=0),
}


def scores(fitted):
    """Balanced accuracy and accuracy by class size on the test part."""
    predicted = fitted.predict(X_test)
    shots = shot_accuracy_score(y_test, predicted, y_train=y_true)
    return {"balanced": balanced_accuracy_score(y_test, predicted), **shots}


clean = pd.DataFrame({name: scores(clf.fit(X, y_true)) for name, clf in methods.items()}).T
noisy = pd.DataFrame({name: scores(clf.fit(X, y_given)) for name, clf in methods.items()}).T
print("clean labels", clean.round(3), "20 % wrong labels", noisy.round(3), sep="\n")

# %%
# With clean labels the tail gains much and the head loses little.  With wrong labels, whatever
# lifts the small classes lifts the wrong labels in them too.

fig, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
for ax, table, title in zip(
    axes, (clean, noisy), ("clean labels", "20 % wrong labels"), strict=True
):
    for group, marker in (("many", "s"), ("medium", "^"), ("few", "o")):
        ax.plot(table[group], range(len(table)), marker, label=f"{group}-shot", markersize=8)
    ax.set(title=title, xlabel="accuracy", xlim=(0, 1.02))
    ax.grid(axis="y", alpha=0.3)
axes[0].set_yticks(range(len(methods)), methods)
axes[0].invert_yaxis()
axes[0].legend(loc="lower left")
plt.show()

# %%
# The strength of a correction is a parameter like any other.  A scorer that looks at the few-shot
# classes chooses it for the tail; class sizes are counted once, on all training rows.

search = GridSearchCV(
    PriorCorrectedClassifier(LogisticRegression(max_iter=1000), prior="counts"),
    {"tau": [0.0, 0.5, 1.0, 1.5]},
    scoring=make_shot_scorer("few", y_given),
    cv=3,
).fit(X, y_given)
print("tau for the tail:", search.best_params_["tau"])

# %%
# Inside :class:`~sklearn_dsink.DSinkClassifier` such a classifier says how large the classes are,
# and a noise-robust one (``noise_aux``, here the default) says which labels to trust.  What it
# adds shows beside the net that it was given; the prior-corrected trees above are about as good
# alone on these digits.

together = DSinkClassifier(imb_aux=LogitAdjustedClassifier(**net), cv=3, random_state=0)
together.fit(X, y_given)
pair = {"logit adjustment alone": noisy.loc["logit adjustment"], "with D-SINK": scores(together)}
print(pd.DataFrame(pair).T.round(3))
