"""A checkpoint's files are those of this fit, whole, and run no code."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from _interrupted import X, Y
from _quick import quick, tiny_net
from sklearn.naive_bayes import GaussianNB
from torch import nn

from sklearn_dsink import checkpoint
from sklearn_dsink._files import replacing


@pytest.mark.parametrize(
    "name, change",
    [
        ("X", lambda fit: fit(X=X + 1e-9)),
        ("y", lambda fit: fit(y=np.roll(Y, 1))),
        ("y", lambda fit: fit(y=np.array(["a", "b", "c"])[Y])),
        ("sample_weight", lambda fit: fit(sample_weight=np.arange(1, len(X) + 1))),
        ("alpha", lambda fit: fit(alpha=2.0)),
        ("imb_aux", lambda fit: fit(imb_aux=GaussianNB(var_smoothing=0.5))),
        ("target", lambda fit: fit(target=tiny_net(lr=0.1))),
        ("max_epochs", lambda fit: fit(target=tiny_net(max_epochs=1))),
        ("base_loss", lambda fit: fit(base_loss=nn.CrossEntropyLoss(reduction="none"))),
        ("random_state", lambda fit: fit(random_state=1)),
        ("folds", lambda fit: fit(cv=3)),
    ],
)
def test_another_fit_is_refused_by_its_fingerprint(tmp_path, name, change):
    folder = tmp_path / "c"
    (quick(target=tiny_net(max_epochs=2), checkpoint_dir=folder)).fit(X, Y)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fit(X=X, y=Y, sample_weight=None, **params):
        settings = {"target": tiny_net(max_epochs=2), "checkpoint_dir": folder, **params}
        quick(**settings).fit(X, y, sample_weight)

    with pytest.raises(ValueError, match=rf"holds a fit with other .*\b{name}\b.* of its own"):
        change(fit)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    fit(n_jobs=1, class_prior="train", combine=False, verbose=0)  # they leave the fit as it is


def test_another_version_is_refused(tmp_path):
    quick(checkpoint_dir=tmp_path).fit(X, Y)
    path = tmp_path / "fingerprint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "versions": "older"}))
    with pytest.raises(ValueError, match="other versions"):
        quick(checkpoint_dir=tmp_path).fit(X, Y)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_seed_is_needed(tmp_path, random_state):
    with pytest.raises(ValueError, match="checkpoint_dir needs an int as random_state"):
        quick(random_state=random_state, checkpoint_dir=tmp_path / "c").fit(X, Y)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["fit-1-000.dsink", "fit-1-001.npy", "target.pt"])
def test_any_changed_byte_is_seen(tmp_path, name):
    quick(checkpoint_dir=tmp_path).fit(X, Y)
    path = tmp_path / name
    data = path.read_bytes()
    for place in np.linspace(0, len(data) - 1, 15, dtype=int):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        with pytest.raises(ValueError, match=f"{name} is damaged .* Delete this file"):
            quick(checkpoint_dir=tmp_path).fit(X, Y)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", ["fit-1-000.dsink", "fit-1-001.npy", "target.pt"])
def test_a_truncated_file_is_named_and_can_be_deleted(tmp_path, name, share):
    first = quick(checkpoint_dir=tmp_path).fit(X, Y)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"{name} is damaged .* Delete this file"):
        quick(checkpoint_dir=tmp_path).fit(X, Y)
    path.unlink()
    again = quick(checkpoint_dir=tmp_path).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))


@pytest.mark.parametrize("change", [lambda text: text[:50], lambda text: "null"])
def test_a_damaged_fingerprint_is_refused(tmp_path, change):
    quick(checkpoint_dir=tmp_path).fit(X, Y)
    path = tmp_path / "fingerprint.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=r"fingerprint\.json is damaged"):
        quick(checkpoint_dir=tmp_path).fit(X, Y)
    path.unlink()
    with pytest.raises(ValueError, match=r"parts of a fit without the fingerprint\.json"):
        quick(checkpoint_dir=tmp_path).fit(X, Y)


class Bomb:
    """Something that would run code if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("name", ["fit-1-000.dsink", "fit-1-001.npy", "target.pt"])
def test_no_file_of_a_checkpoint_runs_code(tmp_path, name):
    bomb = Bomb(tmp_path / "exploded")
    quick(checkpoint_dir=tmp_path).fit(X, Y)
    with checkpoint._sealing(tmp_path / name) as path:
        if path.suffix == ".npy":
            np.save(path, np.array([bomb], dtype=object))
        elif path.suffix == ".pt":
            torch.save({"history": bomb}, path)
        else:
            path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        quick(checkpoint_dir=tmp_path).fit(X, Y)
    assert not bomb.path.exists()


def test_what_was_half_written_is_cleared_away(tmp_path):
    quick(checkpoint_dir=tmp_path).fit(X, Y)
    kept = [path.name for path in tmp_path.iterdir() if path.suffix]
    for name in kept:
        with contextlib.suppress(KeyboardInterrupt), replacing(tmp_path / name) as temporary:
            temporary.touch()
            shutil.copytree(temporary.parent, tmp_path / "as it was")
            begun = temporary.parent
            raise KeyboardInterrupt
        (tmp_path / "as it was").rename(begun)
    (tmp_path / ".fit-notes").mkdir()
    (tmp_path / ".target.pt.backup").touch()
    quick(checkpoint_dir=tmp_path).fit(X, Y)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("."))
    assert len(kept) > 3
    assert left == [".fit-notes", ".target.pt.backup"]
