"""Mixed precision: layers in bfloat16 or float16, and the scaled loss of the latter."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from _quick import make_blobs, quick
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn

from sklearn_dsink import checkpoint
from sklearn_dsink._precision import LossScalingNet
from sklearn_dsink.losses import SampleLoss
from sklearn_dsink.nets import CosineHead, TabularNet, make_net
from sklearn_dsink.persistence import load_model, save_model

X, Y, _ = make_blobs(flip=0.1)
X = X.astype(np.float32)
FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def net_of(**options):
    """Give an untrained net of few epochs."""
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "n_samples": len(X),
        "hidden_layer_sizes": (32,),
        "max_epochs": 10,
        "lr": 1e-2,
        "dropout": 0.0,
        "center": X.mean(axis=0),
        "scale": X.std(axis=0),
        **options,
    }
    return make_net(4, 3, **settings)


def fitted(**options):
    """Train it, from the same weights each time."""
    torch.manual_seed(0)
    return net_of(**options).fit(X, Y)


class Huge(nn.CrossEntropyLoss):
    """A loss whose gradients overflow in float16 until the scale is down to 2048."""

    def forward(self, logits, labels):
        return 30.0 * super().forward(logits, labels)


class Endless(nn.CrossEntropyLoss):
    """A loss without a derivative."""

    def forward(self, logits, labels):
        return super().forward(logits, labels) * float("inf")


# --- What both formats have in common ------------------------------------------------------


@pytest.mark.parametrize("autocast", FORMATS)
@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_mixed_precision_gives_what_float32_gives(autocast, head):
    expected, net = fitted(head=head), fitted(head=head, autocast=autocast)
    assert {weight.dtype for weight in net.module_.parameters()} == {torch.float32}
    proba = net.predict_proba(X)
    assert proba.dtype == np.float32
    gap = abs(proba - expected.predict_proba(X))
    assert 0 < gap.mean() < 0.02
    assert abs(net.score(X, Y) - expected.score(X, Y)) < 0.03
    seen = []
    net.module_.head.register_forward_hook(lambda *facts: seen.append(facts[-1].dtype))
    net.predict_proba(X)
    assert seen == [FORMATS[autocast]]


@pytest.mark.parametrize("autocast", FORMATS)
def test_mixed_precision_of_the_target(autocast):
    expected = quick(target=net_of(), combine=False).fit(X, Y).predict_proba(X)
    proba = quick(target=net_of(autocast=autocast), combine=False).fit(X, Y).predict_proba(X)
    assert 0 < abs(proba - expected).mean() < 0.02


class Formats(SampleLoss):
    """Write down in which format the loss computes."""

    seen: set[torch.dtype] = set()

    def forward(self, logits, labels):
        loss = nn.functional.cross_entropy(logits, labels, reduction="none")
        product = logits @ logits.T  # what autocast would compute in its own format
        self.seen |= {logits.dtype, loss.dtype, product.dtype}
        return loss


@pytest.mark.parametrize("autocast", FORMATS)
def test_losses_are_float32(autocast):
    Formats.seen.clear()
    quick(target=net_of(autocast=autocast, max_epochs=2), base_loss=Formats()).fit(X, Y)
    assert Formats.seen == {torch.float32}


def test_a_row_of_zeros_has_a_direction_in_float16():
    head = CosineHead(5, 3)
    with torch.autocast("cpu", dtype=torch.float16):
        logits = head(torch.zeros(2, 5, dtype=torch.float16))
    assert (logits == 0).all()


def test_other_formats_are_refused():
    message = "autocast must be None, 'bfloat16' or 'float16', got"
    for autocast in ("float32", torch.float16, True):
        with pytest.raises(ValueError, match=message):
            TabularNet(4, 3, autocast=autocast)


def test_a_net_that_does_not_scale_is_refused():
    message = "'float16' needs a net that scales its loss, and NeuralNetClassifier does not"
    with pytest.raises(ValueError, match=message):
        net_of(autocast="float16", net_class=NeuralNetClassifier)
    net_of(autocast="bfloat16", net_class=NeuralNetClassifier)
    own = net_of(net_class=NeuralNetClassifier).set_params(module__autocast="float16")
    with pytest.raises(ValueError, match=message):
        quick(target=own).fit(X, Y)


# --- The scale of the loss in float16 ------------------------------------------------------


@pytest.mark.parametrize("autocast", [None, "bfloat16"])
def test_other_formats_are_not_scaled(autocast):
    net = fitted(autocast=autocast, max_epochs=1)
    assert net.grad_scaler_ is None
    assert "skipped_steps" not in net.history[-1]
    plain = fitted(autocast=autocast, max_epochs=1, net_class=NeuralNetClassifier)
    np.testing.assert_array_equal(net.predict_proba(X), plain.predict_proba(X))


def test_the_scale_comes_and_goes_with_the_parameter():
    net = net_of().set_params(module__autocast="float16", max_epochs=1).fit(X, Y)
    assert net.grad_scaler_.get_scale() > 1
    assert clone(net).fit(X, Y).grad_scaler_ is not net.grad_scaler_
    assert net.set_params(module__autocast=None).grad_scaler_ is None


def gradients(autocast, factor, **options):
    """Give the gradients that callbacks see in the first step, for a loss times `factor`."""
    seen = {}

    class Watch(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            if not seen:
                seen.update({name: weight.grad.clone() for name, weight in named_parameters})

    class Small(nn.CrossEntropyLoss):
        def forward(self, logits, labels):
            return factor * super().forward(logits, labels)

    fitted(autocast=autocast, criterion=Small, max_epochs=1, callbacks=[Watch()], **options)
    return seen


def test_small_gradients_are_kept_by_the_scale():
    expected, found = gradients(None, 1e-6), gradients("float16", 1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0.05, atol=1e-9)
    lost = gradients_without_scale(1e-6)
    assert not lost.any()  # what this guards against


def gradients_without_scale(factor):
    torch.manual_seed(0)
    net = net_of(autocast="float16").initialize()
    loss = nn.CrossEntropyLoss()(net.module_(torch.from_numpy(X)), torch.from_numpy(Y))
    (factor * loss).backward()
    return net.module_.body[0].weight.grad


@pytest.mark.parametrize(
    "optimizer",
    [
        {"optimizer": torch.optim.AdamW, "optimizer__fused": True},
        {"optimizer": torch.optim.AdamW, "optimizer__fused": False},
        {"optimizer": torch.optim.SGD, "optimizer__fused": False},
    ],
)
def test_a_step_that_overflows_is_skipped_and_the_scale_lowered(optimizer):
    net = net_of(autocast="float16", criterion=Huge).set_params(**optimizer).initialize()
    weights = [weight.detach().clone() for weight in net.module_.parameters()]
    scale = net.grad_scaler_.get_scale()
    batch = torch.from_numpy(X), torch.from_numpy(Y)
    skipped = 0
    while net.skipped_steps_ == skipped:
        for weight, before in zip(net.module_.parameters(), weights, strict=True):
            assert torch.equal(weight, before)
        step = net.train_step(batch)
        assert torch.isfinite(step["loss"])
        skipped += 1
    assert skipped > 1
    assert net.grad_scaler_.get_scale() == scale / 2 ** (skipped - 1)
    for weight, before in zip(net.module_.parameters(), weights, strict=True):
        assert not torch.equal(weight, before)
        assert torch.isfinite(weight).all()


def test_skipped_steps_are_counted_in_the_history():
    net = fitted(autocast="float16", criterion=Huge)
    skipped = net.history[:, "skipped_steps"]
    assert skipped[0] > 0
    assert net.grad_scaler_.get_scale() == 2.0 ** (16 - sum(skipped))
    assert skipped[-1] == 0
    assert abs(net.score(X, Y) - fitted(criterion=Huge).score(X, Y)) < 0.05


def test_an_epoch_without_a_step_warns():
    net = net_of(autocast="float16", criterion=Huge, max_epochs=1, batch_size=-1)
    with pytest.warns(UserWarning, match="nothing was learned in epoch 1.*down to 32768"):
        net.fit(X, Y)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.LBFGS])
def test_a_scale_that_collapses_ends_the_fit(optimizer):
    net = net_of(autocast="float16", criterion=Endless, batch_size=4)
    net.set_params(optimizer=optimizer)
    del net.optimizer__fused, net.optimizer__weight_decay
    with pytest.raises(ValueError, match="infinite or NaN even where the loss is not scaled"):
        net.fit(X, Y)
    pickle.loads(pickle.dumps(net))


def test_an_optimizer_with_a_closure_evaluates_again_instead():
    scores = []
    for autocast in (None, "float16"):
        net = net_of(autocast=autocast, criterion=Huge, batch_size=-1, max_epochs=3, callbacks=[])
        net.set_params(optimizer=torch.optim.LBFGS, callbacks__schedule=None, lr=0.1)
        del net.optimizer__fused, net.optimizer__weight_decay
        torch.manual_seed(0)
        scores.append(net.fit(X, Y).history[-1, "train_loss"])
    assert net.grad_scaler_.get_scale() < 2.0**16
    assert net.history[:, "skipped_steps"] == [0, 0, 0]
    np.testing.assert_allclose(*scores, rtol=0.1)


def test_gradients_are_clipped_at_their_own_size():
    proba = []
    for autocast in (None, "float16"):
        net = net_of(autocast=autocast, lr=1.0, callbacks=[GradientNormClipping(0.1)])
        net.set_params(optimizer=torch.optim.SGD)  # to which, unlike Adam, the size matters
        torch.manual_seed(0)
        proba.append(net.fit(X, Y).predict_proba(X))
    assert net.score(X, Y) > 0.8
    assert abs(proba[0] - proba[1]).mean() < 0.02


class StopAmidAStep(Callback):
    """Do what a user does who has seen enough."""

    def on_grad_computed(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_a_training_interrupted_amid_a_step_can_go_on():
    net = fitted(autocast="float16", criterion=Huge, callbacks=[StopAmidAStep()])
    assert len(net.history) == 2
    scale = net.grad_scaler_.get_scale()
    assert scale < 2.0**16
    again = pickle.loads(pickle.dumps(net))
    assert again.grad_scaler_.get_scale() == scale
    again.callbacks_ = []
    again.partial_fit(X, Y)
    assert len(again.history) == 12


# --- A fit that is kept, and goes on -------------------------------------------------------


def huge_target(**options):
    # The head's scale lets the first steps overflow.
    return net_of(autocast="float16", head="cosine", head_scale=100.0, max_epochs=5, **options)


@pytest.mark.parametrize("path", ["pickle", "file"])
def test_a_fitted_classifier_is_kept(tmp_path, path):
    clf = quick(target=huge_target(), warm_start=True).fit(X, Y)
    if path == "pickle":
        again = pickle.loads(pickle.dumps(clf))
        assert again.target_.grad_scaler_.get_scale() == clf.target_.grad_scaler_.get_scale()
    else:
        again = load_model(save_model(clf, tmp_path / "model.dsink"))
    assert type(again.target_) is LossScalingNet
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.set_params(target__max_epochs=2).fit(X, Y)  # trained further, not anew
    assert len(again.history_) == 7


def going_on(tmp_path, monkeypatch, **options):
    """Give an unbroken fit and one that was interrupted after two epochs."""
    whole = quick(target=huge_target(**options)).fit(X, Y)
    replacing = checkpoint.replacing
    written = []

    def interrupted(path):
        written.append(Path(path).name)
        if written.count("target.pt") == 3:
            raise KeyboardInterrupt
        return replacing(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "replacing", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick(target=huge_target(**options), checkpoint_dir=tmp_path / "c").fit(X, Y)
    return whole, quick(target=huge_target(**options), checkpoint_dir=tmp_path / "c").fit(X, Y)


def test_an_interrupted_fit_has_the_scale_that_it_had(tmp_path, monkeypatch):
    whole, resumed = going_on(tmp_path, monkeypatch)
    skipped = [epoch["skipped_steps"] for epoch in whole.history_]
    assert sum(skipped[:2]) > 0  # a new scale would skip steps again
    assert [epoch["skipped_steps"] for epoch in resumed.history_] == skipped
    scalers = [fit.target_.grad_scaler_.state_dict() for fit in (whole, resumed)]
    assert scalers[0] == scalers[1]
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))


# --- Other machines ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of what torch itself does inside
@pytest.mark.parametrize("autocast", FORMATS)
def test_compiled_net_of_mixed_precision(autocast):
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("torch.compile needs a C++ compiler on the CPU")
    net = fitted(autocast=autocast, compile=True)
    assert hasattr(net.module_, "_orig_mod")
    assert (net.grad_scaler_ is not None) == (autocast == "float16")
    expected = fitted(autocast=autocast).predict_proba(X)
    assert abs(net.predict_proba(X) - expected).mean() < 0.02


@pytest.mark.gpu
def test_float16_on_a_gpu(tmp_path, monkeypatch):
    expected = fitted(device="cuda").score(X, Y)
    net = fitted(device="cuda", autocast="float16")
    assert {(w.dtype, w.device.type) for w in net.module_.parameters()} == {
        (torch.float32, "cuda")
    }
    assert abs(net.score(X, Y) - expected) < 0.03
    assert fitted(device="cuda", autocast="float16", criterion=Huge).history[0, "skipped_steps"]
    whole, resumed = going_on(tmp_path, monkeypatch, device="cuda")
    scalers = [fit.target_.grad_scaler_.state_dict() for fit in (whole, resumed)]
    assert scalers[0] == scalers[1]
    np.testing.assert_allclose(resumed.predict_proba(X), whole.predict_proba(X), atol=1e-2)
