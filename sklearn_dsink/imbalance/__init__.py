"""Classifiers that are robust to class imbalance, alone or as ``imb_aux`` of DSinkClassifier.

Each is a scikit-learn classifier of its own. imbalanced-learn's ensembles need no wrapper: pass
``BalancedRandomForestClassifier``, ``EasyEnsembleClassifier`` or ``RUSBoostClassifier`` as
`imb_aux` as they are, or any classifier with ``class_weight="balanced"``. Those that take no
``sample_weight`` (``EasyEnsembleClassifier``) are fitted without it, and a warning says so.

>>> from imblearn.ensemble import BalancedRandomForestClassifier
>>> from sklearn.datasets import load_digits
>>> from sklearn.metrics import balanced_accuracy_score
>>> from sklearn_dsink.datasets import make_long_tailed
>>> from sklearn_dsink.imbalance import LogitAdjustedClassifier
>>> X, y = load_digits(return_X_y=True)
>>> X_lt, y_lt = make_long_tailed(X[::2], y[::2], 20, random_state=0)
>>> for clf in (
...     BalancedRandomForestClassifier(n_estimators=100, random_state=0),
...     LogitAdjustedClassifier(max_epochs=30, random_state=0),
... ):
...     pred = clf.fit(X_lt, y_lt).predict(X[1::2])
...     print(bool(balanced_accuracy_score(y[1::2], pred) > 0.7))
True
True

cleanlab's ``CleanLearning`` looks after wrong labels, so it serves as `noise_aux`; it reads the
labels 0..n_classes-1 only, which DSinkClassifier sees to. With a balanced forest inside,
``CleanLearning(RandomForestClassifier(class_weight="balanced"))``, the two remedies are stacked
in one model, which is what D-SINK is there to avoid: pruning wrong labels removes the tail.
"""

from ._class_balanced import ClassBalancedClassifier
from ._crt import CRTClassifier
from ._focal import FocalClassifier
from ._kernel_classifier import KernelClassifier
from ._ldam import LDAMClassifier
from ._logit_adjusted import LogitAdjustedClassifier
from ._lws import LWSClassifier
from ._prior import (
    adjust_prior,
    effective_number_weights,
    estimate_class_prior_em,
)
from ._prior_corrected import PriorCorrectedClassifier
from ._tau_norm import TauNormClassifier

__all__ = [
    "CRTClassifier",
    "ClassBalancedClassifier",
    "FocalClassifier",
    "KernelClassifier",
    "LDAMClassifier",
    "LWSClassifier",
    "LogitAdjustedClassifier",
    "PriorCorrectedClassifier",
    "TauNormClassifier",
    "adjust_prior",
    "effective_number_weights",
    "estimate_class_prior_em",
]
