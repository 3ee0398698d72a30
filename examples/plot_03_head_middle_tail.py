"""
Head, middle and tail side by side
==================================

One accuracy hides what long tails do: a classifier can be right about the large classes alone.
Here a forest and D-SINK learn from the same long-tailed, mislabelled digits, and each class is
shown by itself, from the largest to the smallest.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.metrics import shot_accuracy_score
from sklearn_dsink.plots import ClassSharesDisplay, ReliabilityDisplay, ShotAccuracyDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=1
)
X_train, y_true = make_long_tailed(X_train, y_train, 20, random_state=1)
y_given, _ = flip_labels(y_true, 0.2, random_state=1)

forest = RandomForestClassifier(200, random_state=0).fit(X_train, y_given)
dsink = DSinkClassifier(random_state=0).fit(X_train, y_given)

# %%
# Many-shot classes have more than 100 clean training rows, few-shot classes fewer than 20.

scores = {
    name: {
        "balanced": balanced_accuracy_score(y_test, model.predict(X_test)),
        **shot_accuracy_score(y_test, model.predict(X_test), y_train=y_true),
    }
    for name, model in (("forest", forest), ("D-SINK", dsink))
}
print(pd.DataFrame(scores).T.round(3).to_string())

# %%
# The black lines are the means of the bands.

counts = np.bincount(y_true)
fig, axes = plt.subplots(2, 1, figsize=(8, 7), layout="constrained")
for ax, (name, model) in zip(axes, (("forest", forest), ("D-SINK", dsink)), strict=True):
    ShotAccuracyDisplay.from_estimator(model, X_test, y_test, counts=counts, ax=ax)
    ax.set_title(name, pad=40)
plt.show()

# %%
# Symmetric noise fills the small classes with strangers, so the given labels hide the tail.  The
# surrogate labels bring it back.

ClassSharesDisplay.from_predictions(
    y_given, dsink.surrogate_labels_, imb_proba=dsink.imb_aux_proba_, y_true=y_true
)
plt.show()

# %%
# May the probabilities be trusted?  Points above the diagonal are too modest, points below it too
# sure.  Probabilities are for a uniform class prior, which is that of the test part.

fig, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
for ax, (name, model) in zip(axes, (("forest", forest), ("D-SINK", dsink)), strict=True):
    ReliabilityDisplay.from_estimator(model, X_test, y_test, ax=ax)
    ax.set_title(name, pad=44)
plt.show()
