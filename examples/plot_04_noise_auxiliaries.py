"""
Classifiers for wrong labels, alone and inside D-SINK
=====================================================

The classifiers of :mod:`sklearn_dsink.noise` are scikit-learn classifiers of their own.  We put
them beside a plainly trained net on digits of which many are mislabelled, look at what makes them
robust, and hand one to D-SINK.
"""

# %%
# Two kinds of noise: to any other class, and always to the next one.  Test labels are clean.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cleanlab.classification import CleanLearning
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_dsink import DSinkClassifier, NetClassifier
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.losses import GCE
from sklearn_dsink.noise import (
    CoTeachingClassifier,
    DivideMixClassifier,
    EarlyStoppedNet,
    ELRClassifier,
    GCEClassifier,
    NeighborSmoothingClassifier,
    NoiseCorrectedClassifier,
)

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, train_size=600, stratify=y, random_state=0)
given = {
    "symmetric, 40 %": flip_labels(y, 0.4, kind="symmetric", random_state=0)[0],
    "pair, 30 %": flip_labels(y, 0.3, kind="pair", random_state=0)[0],
}

# %%
# The same net with another loss, two nets that teach each other, labels shared with neighbours,
# and two ways with trees: our noise correction, and cleanlab's ``CleanLearning``, which prunes the
# labels it doubts.  The latter needs no wrapper as long as labels are the integers 0 to K - 1.

net = {"max_epochs": 30, "random_state": 0}
trees = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=0)
methods = {
    "plain net": NetClassifier(**net),
    "early stopping": EarlyStoppedNet(**net),
    "GCE": GCEClassifier(**net),
    "truncated GCE": GCEClassifier(truncation=0.5, **net),
    "ELR": ELRClassifier(**net),
    "co-teaching": CoTeachingClassifier(**net),
    "DivideMix": DivideMixClassifier(**net),
    "neighbours": NeighborSmoothingClassifier(**net),
    "trees, corrected": NoiseCorrectedClassifier(trees, correction="transition", random_state=0),
    "CleanLearning": CleanLearning(trees, seed=0),
}
accuracy = pd.DataFrame(
    {
        kind: {
            name: np.mean(clf.fit(X, y_given).predict(X_test) == y_test)
            for name, clf in methods.items()
        }
        for kind, y_given in given.items()
    }
)
print(accuracy.round(3))

# %%
# Why a plain net fails: it ends up believing the labels it was given, wrong ones too.  A robust
# loss does not.  Shown is the probability that a trained net gives the label of a training row.

y_given = given["symmetric, 40 %"]
wrong = y_given != y
fig, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
for ax, name in zip(axes[:2], ("plain net", "ELR"), strict=True):
    clf = methods[name].fit(X, y_given)
    proba = clf.predict_proba(X)[np.arange(len(X)), y_given]
    ax.hist([proba[~wrong], proba[wrong]], bins=20, stacked=True, label=["right", "wrong"])
    ax.set(title=name, xlabel="probability of the given label", ylabel="training rows")
axes[0].legend(title="given label")
accuracy.plot.barh(ax=axes[2], width=0.8)
axes[2].invert_yaxis()
axes[2].set(title="accuracy on clean test rows", xlim=(0.5, 1))
axes[2].legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, fontsize="small")
plt.show()

# %%
# No clean label is needed to choose parameters: under such noise the setting that agrees best with
# held-out noisy labels is also best on clean ones.  Losses are parameters like any other.

search = GridSearchCV(
    NetClassifier(**net), {"loss": ["cross_entropy", GCE(0.3), GCE(0.7)]}, cv=3
).fit(X, y_given)
chosen = search.best_params_["loss"]
print("chosen:", chosen if isinstance(chosen, str) else f"GCE with q={chosen.q}")
print(f"accuracy on clean test rows {search.score(X_test, y_test):.3f}")

# %%
# How wrong the labels of each class are is estimated along the way.  Co-teaching leaves that share
# of each class out; the noise matrix of the corrected trees says where labels went.

estimated = methods["co-teaching"].fit(X, y_given).noise_rates_
realised = [np.mean(y[y_given == c] != c) for c in range(10)]
print(pd.DataFrame({"estimated": estimated, "realised": realised}).T.round(2))

# %%
# With a long tail besides the noise, either kind of method alone is not enough: that is what
# D-SINK is for.  Any of these classifiers can be its noise-robust side.

X_tail, y_tail = make_long_tailed(X, y, imbalance_factor=10, random_state=0)
y_tail_given, _ = flip_labels(y_tail, 0.3, kind="symmetric", random_state=0)
robust = NoiseCorrectedClassifier(trees, cv=3, random_state=0)
alone = robust.fit(X_tail, y_tail_given).predict(X_test)
dsink = DSinkClassifier(noise_aux=robust, random_state=0).fit(X_tail, y_tail_given)
print(f"corrected trees alone     {balanced_accuracy_score(y_test, alone):.3f}")
print(f"as noise_aux of D-SINK    {balanced_accuracy_score(y_test, dsink.predict(X_test)):.3f}")
