"""A second fit trains the target further, and leaves the auxiliaries as they are."""

from __future__ import annotations

import pickle
import signal
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from _quick import make_blobs, quick, tiny_net
from safetensors.torch import load
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB
from skorch.callbacks import Callback
from torch import nn

from sklearn_dsink.nets import make_net
from sklearn_dsink.persistence import _TENSORS, load_model, save_model, write_model

X, Y, _ = make_blobs(flip=0.2)


class CountingBayes(GaussianNB):
    """A classifier that counts the fits of its class."""

    n_fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).n_fits += 1
        return super().fit(X, y, sample_weight)


def state(model):
    return {
        "proba": model.predict_proba(X),
        "labels": model.surrogate_labels_,
        "potentials": model.class_potentials_,
        "history": model.history_,
    }


def assert_state(model, expected):
    for key, value in state(model).items():
        np.testing.assert_array_equal(value, expected[key])


def test_the_first_fit_is_a_fit_like_any_other():
    plain, warm = quick().fit(X, Y), quick(warm_start=True).fit(X, Y)
    np.testing.assert_array_equal(warm.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(warm.surrogate_labels_, plain.surrogate_labels_)


def test_a_second_fit_trains_the_target_alone():
    model = quick(noise_aux=CountingBayes(), warm_start=True).fit(X, Y)
    n_fits, proba, losses = CountingBayes.n_fits, model.predict_proba(X), []
    kept = {name: getattr(model, name) for name in ("noise_aux_", "imb_aux_proba_", "encoder_")}
    for n_epochs in (3, 6, 9):
        assert [epoch["epoch"] for epoch in model.history_] == list(range(1, n_epochs + 1))
        losses.append(model.history_[-1]["train_loss"])
        model.fit(X, Y)
    assert CountingBayes.n_fits == n_fits
    assert all(getattr(model, name) is value for name, value in kept.items())
    assert losses[2] < losses[1] < losses[0]
    assert np.abs(model.predict_proba(X) - proba).max() > 1e-3
    np.testing.assert_allclose(
        model.surrogate_labels_.mean(axis=0), model.class_marginal_, atol=1e-6
    )
    # Labels were renewed between the two trainings and after each epoch but the very last.
    assert ["labels_moved" in epoch for epoch in model.history_][3:6] == [True, True, False]


def test_the_target_goes_on_from_its_weights_and_its_optimizers_state():
    model = quick(target=tiny_net(max_epochs=10), warm_start=True).fit(X, Y).fit(X, Y)
    whole = quick(target=tiny_net(max_epochs=20)).fit(X, Y)
    first, second = ([e["train_loss"] for e in fitted.history_] for fitted in (model, whole))
    assert first[:10] == second[:10]
    assert first[10] == pytest.approx(second[10], rel=0.05)  # other batches, the same weights
    steps = [
        {int(state["step"]) for state in fitted.target_.optimizer_.state.values()}
        for fitted in (model, whole)
    ]
    assert steps[0] == steps[1] == {20 * 4}


def test_an_optimizer_that_cannot_be_copied_goes_on_from_its_state():
    net = tiny_net(optimizer=torch.optim.LBFGS, max_epochs=2)
    model = quick(target=net, warm_start=True).fit(X, Y)
    (first,) = model.target_.optimizer_.state.values()
    pickled = pickle.loads(pickle.dumps(model))
    expected = state(model.fit(X, Y))
    expected["history"] = pickled.fit(X, Y).history_  # seconds differ
    assert_state(pickled, expected)
    (second,) = model.target_.optimizer_.state.values()
    assert second["n_iter"] == 2 * first["n_iter"]


def test_relaxed_shares_are_asked_for_again_and_rows_go_by_their_new_names():
    shares = [0.2, 0.3, 0.5]
    frame = pd.DataFrame(X, index=[f"a{i}" for i in range(len(X))])
    model = quick(warm_start=True, relaxation=1.0, class_marginal=shares).fit(frame, Y)
    once = model.surrogate_labels_.mean(axis=0)
    model.fit(frame.set_axis([f"b{i}" for i in range(len(X))]), Y)
    np.testing.assert_allclose(model.surrogate_labels_.mean(axis=0), once, atol=0.05)
    assert model.label_issues().index.str.startswith("b").all()


def test_the_epochs_to_come_are_those_of_the_target_given():
    model = quick(target=tiny_net(max_epochs=2), warm_start=True).fit(X, Y)
    model.set_params(target__max_epochs=5, renew_every=2, random_state=7).fit(X, Y)
    assert len(model.history_) == 7


@pytest.mark.parametrize(
    "name, data, params",
    [
        ("X", {"X": X + 1}, {}),
        ("y", {"y": np.roll(Y, 1)}, {}),
        ("sample_weight", {"sample_weight": np.arange(1, len(X) + 1)}, {}),
        ("alpha", {}, {"alpha": 2.0}),
        ("target", {}, {"target__lr": 0.5}),
        ("imb_aux", {}, {"imb_aux__var_smoothing": 0.1}),
    ],
)
def test_other_rows_and_settings_are_refused_and_the_last_fit_stands(name, data, params):
    model = quick(warm_start=True).fit(X, Y)
    before = state(model)
    model.set_params(**params)
    with pytest.raises(ValueError, match=rf"had other {name}\. Set warm_start=False to fit anew"):
        model.fit(**{"X": X, "y": Y, **data})
    assert_state(model, before)
    model.set_params(warm_start=False).fit(**{"X": X, "y": Y, **data})
    assert len(model.history_) == 3


def test_rows_of_another_width_are_refused():
    model = quick(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but DSinkClassifier is expecting 4"):
        model.fit(X[:, :3], Y)
    assert model.predict_proba(X).shape == (len(X), 3)


class Interrupt(Callback):
    """Press Ctrl-C in the fifth epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 5:
            signal.default_int_handler(signal.SIGINT, None)


def test_after_ctrl_c_in_the_second_fit_the_first_one_stands():
    model = quick(target=tiny_net(callbacks=[Interrupt()]), warm_start=True).fit(X, Y)
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert_state(model, before)


def test_layout_and_container_of_the_rows_do_not_matter():
    model = quick(warm_start=True).fit(X, Y)
    model.fit(np.asfortranarray(X), Y.tolist()).fit(np.repeat(X, 2, axis=0)[::2], Y)
    assert len(model.history_) == 9


def test_a_first_fit_that_was_read_back_is_trained_further_and_its_folder_left_alone(tmp_path):
    settings = {"warm_start": True, "checkpoint_dir": tmp_path}
    whole = quick(**settings).fit(X, Y)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = quick(**settings).fit(X, Y)
    expected = state(whole.fit(X, Y))
    expected["history"] = model.fit(X, Y).history_  # seconds differ
    assert_state(model, expected)
    assert len(model.history_) == 6
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_it_has_to_be_set_before_the_first_fit():
    model = quick().fit(X, Y).set_params(warm_start=True)
    assert len(model.fit(X, Y).history_) == 3
    assert len(model.fit(X, Y).history_) == 6
    assert len(clone(model).fit(X, Y).history_) == 3


@pytest.mark.parametrize("autocast", [None, "float16"])
def test_a_saved_classifier_is_trained_further_as_the_one_in_memory(tmp_path, autocast):
    criterion = nn.CrossEntropyLoss
    net = make_net(4, 3, criterion=criterion, n_samples=len(X), max_epochs=3, autocast=autocast)
    # So large a loss lowers the scale that float16 begins with.
    model = quick(target=net, alpha=30.0, warm_start=True).fit(X, Y)
    pickled = pickle.loads(pickle.dumps(model))
    loaded = load_model(save_model(model, tmp_path / "m.dsink"))
    expected = state(model.fit(X, Y))
    for other in (pickled, loaded):
        expected["history"] = other.fit(X, Y).history_  # seconds differ
        assert_state(other, expected)
    if autocast == "float16":
        scales = [other.target_.grad_scaler_.get_scale() for other in (model, loaded)]
        assert scales[0] == scales[1] < 2**16


def test_only_a_file_of_a_warm_start_holds_the_optimizers_state(tmp_path):
    sizes = []
    for warm_start in (False, True):
        path = tmp_path / f"{warm_start}.dsink"
        write_model(quick(warm_start=warm_start).fit(X, Y), path)
        with zipfile.ZipFile(path) as archive:
            sizes.append(sum(t.numel() for t in load(archive.read(_TENSORS)).values()))
    assert 2.5 < sizes[1] / sizes[0] < 3.5  # Adam has two moments of each weight
