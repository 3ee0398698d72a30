"""A fit that takes its time, to be killed: ``import _interrupted; _interrupted.main()``.

Each fit of its auxiliary is written down in the file that the variable FIT_LOG names.
"""

from __future__ import annotations

import os
import sys
import time

import torch
from _quick import make_blobs, quick, tiny_net
from sklearn.naive_bayes import GaussianNB
from skorch.callbacks import Callback

X, Y, _ = make_blobs(flip=0.2)
N_EPOCHS, N_FITS, PAUSE = 12, 16, 0.06


class LoggedBayes(GaussianNB):
    """A classifier that says when it is fitted."""

    def fit(self, X, y, sample_weight=None):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        with open(os.environ["FIT_LOG"], "a", encoding="utf-8") as log:
            log.write("fitted\n")
        return super().fit(X, y, sample_weight)


class Pause(Callback):
    """Make an epoch last."""

    def on_batch_end(self, net, training=False, **kwargs):
        time.sleep(float(os.environ.get("PAUSE", "0")) / 3)


def classifier(checkpoint_dir=None, **params):
    """Give the unfitted classifier: 2 auxiliaries, 8 fits each, and 12 epochs."""
    settings = {
        "noise_aux": LoggedBayes(var_smoothing=0.1),
        "imb_aux": LoggedBayes(),
        "target": tiny_net(max_epochs=N_EPOCHS, callbacks=[Pause()]),
        "cv": 3,
        "checkpoint_dir": checkpoint_dir,
        **params,
    }
    return quick(**settings)


def main():
    """Fit in the folder named on the command line, after saying that everything is imported."""
    torch.set_num_threads(1)
    print("ready", flush=True)
    classifier(sys.argv[1]).fit(X, Y)
