"""
Read a report
=============

``report`` writes what a fit found to one HTML file that opens from disk: pictures, the labels to
look at first in a table that sorts and filters, settings and versions.  This page writes one and
goes through its parts.  ``dsink fit data.csv --label y`` writes the same report for a table.
"""

# %%
# Wine, made long-tailed; every fifth label is wrong.  The classes get names.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

from sklearn_dsink import DSinkClassifier
from sklearn_dsink.datasets import flip_labels, make_long_tailed
from sklearn_dsink.inspection import class_summary, noisy_pairs
from sklearn_dsink.plots import HistoryDisplay, NoiseMatrixDisplay

X, y = load_wine(return_X_y=True, as_frame=True)
X, y = make_long_tailed(X, y, 4, class_order=[1, 0, 2], random_state=0)
y_true = np.array(["Barolo", "Grignolino", "Barbera"])[y]
y_given, _ = flip_labels(y_true, 0.2, random_state=0)

clf = DSinkClassifier(random_state=0).fit(X, y_given)
path = Path(tempfile.mkdtemp()) / "report.html"
clf.report(path, title="Wines")
print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB, opens in any browser without a network")

# %%
# **The classes.**  Rows as given beside rows as estimated: a class that shrinks had strangers in
# it.  ``issue_rate``, "share flagged" in the report, says whose labels to look at first.

issues = clf.label_issues()
print(class_summary(y_given, clf.surrogate_labels_, classes=clf.classes_, issues=issues).round(2))

# %%
# **The noise matrix.**  A row is a true class; what lies off the diagonal was labelled wrongly,
# and the list below says which of it costs most rows.

NoiseMatrixDisplay.from_estimator(clf)
plt.show()
print(noisy_pairs(clf.noise_matrix_, clf.class_marginal_, classes=clf.classes_).head(3).round(3))

# %%
# **The labels to look at first.**  Both auxiliaries' views stand beside the suggestion: where they
# agree with it against the given label, a look is worth most.

print(issues.head(6).round(2).T.to_string())

# %%
# **The training.**  The loss should have settled.  The marginal error is how far the surrogate
# labels' class totals are from those asked for, and labels should no longer move at the end.

HistoryDisplay.from_estimator(clf)
plt.show()
