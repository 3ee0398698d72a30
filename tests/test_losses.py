"""Each loss against its formula: values, gradients, limits, and p at 0 and at 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_dsink.losses import (
    AGCE,
    ELR,
    GCE,
    LDAM,
    LOSSES,
    SCE,
    ActivePassive,
    ClassBalanced,
    CrossEntropy,
    Focal,
    LogitAdjusted,
    SampleLoss,
    WeightedMean,
)
from sklearn_dsink.losses._base import soft_cross_entropy
from sklearn_dsink.losses._imbalance import mean_one_weights

COUNTS = torch.tensor([50.0, 20.0, 5.0, 1.0], dtype=torch.float64)
HALVES = slice(0, 3), slice(3, 6)
A = -math.log(1e-4)


def probabilities(logits):
    e = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
    return e / e.sum(dim=1, keepdim=True)


def prior():
    return COUNTS / COUNTS.sum()


def margins():
    return 0.5 * COUNTS**-0.25 / (COUNTS**-0.25).max()


# Written out from the papers with p itself, and with the whole vector of p where it enters.
FORMULAS = {
    "cross_entropy": (CrossEntropy(), lambda z, p, py, y: -torch.log(py)),
    "smoothed": (
        CrossEntropy(0.2),
        lambda z, p, py, y: -0.8 * torch.log(py) - 0.2 * torch.log(p).mean(dim=1),
    ),
    "gce": (GCE(0.7), lambda z, p, py, y: (1 - py**0.7) / 0.7),
    "truncated": (
        GCE(0.7, truncation=0.3),
        lambda z, p, py, y: (1 - py.clamp_min(0.3) ** 0.7) / 0.7,
    ),
    "sce": (SCE(0.3, 2.0), lambda z, p, py, y: -0.3 * torch.log(py) + 2.0 * A * (1 - py)),
    "active_passive": (
        ActivePassive(2.0, 0.5),
        lambda z, p, py, y: 2 * torch.log(py) / torch.log(p).sum(dim=1) + 0.5 * A * (1 - py),
    ),
    # Reverse cross-entropy over its sum over the labels: (1 - p_y) / (n_classes - 1).
    "normalized_passive": (
        ActivePassive(1.0, 1.0, normalize_passive=True),
        lambda z, p, py, y: (
            torch.log(py) / torch.log(p).sum(dim=1) + A * (1 - py) / (A * (1 - p)).sum(dim=1)
        ),
    ),
    "agce": (AGCE(0.6, 0.4), lambda z, p, py, y: (1.6**0.4 - (0.6 + py) ** 0.4) / 0.4),
    "focal": (Focal(1.5), lambda z, p, py, y: -((1 - py) ** 1.5) * torch.log(py)),
    "logit_adjusted": (
        LogitAdjusted(0.5),
        lambda z, p, py, y: -torch.log(prior()[y] ** 0.5 * py / (prior() ** 0.5 * p).sum(dim=1)),
    ),
    "ldam": (
        LDAM(0.5, scale=4.0),
        lambda z, p, py, y: (
            -torch.log(
                torch.exp(-4 * margins()[y])
                * py
                / (p.sum(dim=1) - py + torch.exp(-4 * margins()[y]) * py)
            )
        ),
    ),
    "class_balanced": (
        ClassBalanced(beta=0.9),
        lambda z, p, py, y: -torch.log(py) * closed_form_weights(0.9)[y],
    ),
}


def closed_form_weights(beta):
    weights = (1 - beta) / (1 - beta**COUNTS)
    return weights * COUNTS.sum() / (COUNTS * weights).sum()


def prepared(loss):
    loss.prepare(COUNTS, 10)
    return loss


def some_logits(n=12, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn(n, len(COUNTS), generator=generator, dtype=torch.float64)
    y = torch.randint(0, len(COUNTS), (n,), generator=generator)
    return z, y


@pytest.mark.parametrize("name", FORMULAS)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 4.0))
def test_value_and_gradient_are_those_of_the_formula(name, seed, scale):
    loss, formula = FORMULAS[name]
    z, y = some_logits(scale=scale, seed=seed)
    z.requires_grad_(True)
    value = prepared(loss)(z, y)
    assert value.shape == y.shape
    (gradient,) = torch.autograd.grad(value.sum(), z)
    p = probabilities(z)
    expected = formula(z, p, p.gather(1, y[:, None]).squeeze(1), y)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), z)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-10)


def all_losses():
    return [
        *(pytest.param(cls, id=name) for name, cls in LOSSES.items()),
        pytest.param(lambda: GCE(0.0), id="gce-0"),
        pytest.param(lambda: GCE(0.5, truncation=0.5), id="gce-truncated"),
        pytest.param(lambda: Focal(0.5), id="focal-0.5"),
        pytest.param(lambda: ActivePassive(normalize_passive=True), id="normalized-passive"),
    ]


@pytest.mark.parametrize("make", all_losses())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_at_probability_zero_and_one(make, dtype):
    """Logits 1e4 apart make p exactly 0 and 1; nothing may overflow, and being right is best."""
    z = torch.tensor([[1e4, 0, 0, 0], [0, 1e4, 0, 0]], dtype=dtype, requires_grad=True)
    y = torch.tensor([0, 0])
    loss = prepared(make())
    index = (torch.arange(2),) if loss.needs_index else ()
    value = loss(z, y, *index)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert value[0] < value[1]
    if not isinstance(loss, LDAM | ELR):
        assert value[0].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("make", all_losses())
def test_gradients_by_finite_differences(make):
    loss = prepared(make()).eval()  # in evaluation ELR's memory stands still
    z, y = some_logits(6)
    index = (torch.arange(6),) if loss.needs_index else ()
    z.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, y, *index), (z,))


def test_gce_between_cross_entropy_and_absolute_error():
    z, y = some_logits()
    py = probabilities(z).gather(1, y[:, None]).squeeze(1)
    one_hot = torch.nn.functional.one_hot(y, 4)
    mae = (probabilities(z) - one_hot).abs().sum(dim=1)
    torch.testing.assert_close(GCE(0.0)(z, y), -torch.log(py))
    torch.testing.assert_close(GCE(1e-9)(z, y), -torch.log(py), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(GCE(1.0)(z, y), mae / 2)


def test_truncation_starts_late_and_silences_the_disbelieved():
    z = torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 0])
    loss = GCE(0.7, truncation=0.5, truncate_from=0.5)
    for epoch, silenced in [(0, False), (4, False), (5, True), (9, True)]:
        loss.set_epoch(epoch, 10)
        (gradient,) = torch.autograd.grad(loss(z, y).sum(), z)
        assert (gradient[0].abs().sum() == 0) == silenced
        assert gradient[1].abs().sum() > 0


def test_logit_adjustment_at_zero_is_cross_entropy_and_moves_the_optimum_to_balance():
    z, y = some_logits()
    torch.testing.assert_close(prepared(LogitAdjusted(0.0))(z, y), CrossEntropy()(z, y))
    # With labels drawn by the prior alone, the best constant logits are even.
    constant = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.repeat_interleave(torch.arange(4), COUNTS.long())
    loss = prepared(LogitAdjusted())(constant.expand(len(labels), 4), labels).mean()
    (gradient,) = torch.autograd.grad(loss, constant)
    torch.testing.assert_close(gradient, torch.zeros(1, 4, dtype=torch.float64))


def test_balanced_softmax_is_logit_adjustment_with_counts():
    z, y = some_logits()
    weighted = COUNTS * torch.exp(z)
    expected = -torch.log(weighted.gather(1, y[:, None]).squeeze(1) / weighted.sum(dim=1))
    torch.testing.assert_close(prepared(LogitAdjusted())(z, y), expected)


def test_a_class_without_samples_keeps_the_adjustment_finite():
    loss = LogitAdjusted()
    loss.prepare(torch.tensor([3.0, 0.0]), 3)
    assert torch.isfinite(loss(torch.zeros(1, 2), torch.tensor([1]))).all()


def test_prior_given_by_the_user_is_used():
    loss = LogitAdjusted(prior=torch.tensor([0.25, 0.75]))
    loss.prepare(torch.tensor([9.0, 1.0]), 10)
    value = loss(torch.zeros(1, 2), torch.tensor([0]))
    torch.testing.assert_close(value, -torch.log(torch.tensor([0.25])))


def test_focal_with_gamma_zero_is_cross_entropy():
    z, y = some_logits()
    torch.testing.assert_close(Focal(0.0)(z, y), CrossEntropy()(z, y))


def test_elr_follows_its_recursion():
    loss = ELR(strength=3.0, memory=0.7)
    loss.prepare(COUNTS, 5)
    index, y = torch.tensor([1, 4]), torch.tensor([0, 2])
    memory = torch.zeros(5, 4, dtype=torch.float64)
    for step in range(3):
        z, _ = some_logits(2, seed=step)
        p = probabilities(z).clamp(1e-4, 1 - 1e-4)
        memory[index] = 0.7 * memory[index] + 0.3 * p / p.sum(dim=1, keepdim=True)
        expected = CrossEntropy()(z, y) + 3 * torch.log(1 - (memory[index] * p).sum(dim=1))
        value = loss(z, y, index)
        # The memory is kept in float32.
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    before = loss.targets.clone()
    torch.testing.assert_close(before[[0, 2, 3]], torch.zeros(3, 4))
    loss.eval()
    loss(z, y, index)
    assert loss.targets.equal(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_elr_stays_finite_where_a_sure_net_answers_in_half_precision(dtype):
    loss, y, index = prepared(ELR()).train(), torch.tensor([0, 1]), torch.arange(2)
    logits = (12 * torch.eye(4)[:2]).to(dtype).requires_grad_()
    for _ in range(60):
        value = loss(logits, y, index)
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()


def test_elr_without_a_memory_yet_is_cross_entropy_in_evaluation():
    z, y = some_logits(5)
    loss = prepared(ELR()).eval()
    torch.testing.assert_close(loss(z, y, torch.arange(5)), CrossEntropy()(z, y))


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-12])
def test_class_weights_are_one_on_average_over_the_rows(beta):
    weights = mean_one_weights(COUNTS, beta)
    assert (COUNTS * weights).sum() / COUNTS.sum() == pytest.approx(1)
    if beta == 0.0:
        torch.testing.assert_close(weights, torch.ones_like(weights))
    elif beta < 0.99999:
        torch.testing.assert_close(weights, closed_form_weights(beta))
    else:  # the limit: inversely proportional to size
        torch.testing.assert_close(
            weights * COUNTS, (weights * COUNTS)[0].expand(4), rtol=1e-6, atol=0
        )


def test_class_weights_of_whole_numbers_are_no_whole_numbers():
    whole = mean_one_weights(COUNTS.long(), 0.9999)
    torch.testing.assert_close(whole, mean_one_weights(COUNTS, 0.9999).float())


def test_deferred_weights_wait_for_their_epoch():
    z, y = some_logits()
    loss = prepared(ClassBalanced(LDAM(), start=0.8))
    plain = prepared(LDAM())(z, y)
    loss.set_epoch(7, 10)
    torch.testing.assert_close(loss(z, y), plain)
    loss.set_epoch(8, 10)
    torch.testing.assert_close(loss(z, y), plain * loss.class_weights[y])


def test_ldam_margin_is_largest_for_the_rarest_class():
    loss = prepared(LDAM(max_margin=0.5))
    assert loss.margins.argmax() == 3
    assert loss.margins[3] == pytest.approx(0.5)
    np.testing.assert_allclose(loss.margins[0] / loss.margins[3], 50**-0.25)


def test_soft_cross_entropy():
    z, y = some_logits()
    one_hot = torch.nn.functional.one_hot(y, 4).double()
    torch.testing.assert_close(soft_cross_entropy(z, one_hot), CrossEntropy()(z, y))
    rows = torch.full_like(z, 0.25)
    expected = -torch.log(probabilities(z)).mean(dim=1)
    torch.testing.assert_close(soft_cross_entropy(z, rows), expected)


def test_criterion_takes_weighted_means():
    z, y = some_logits(6)
    losses = CrossEntropy()(z, y)
    criterion = WeightedMean(CrossEntropy())
    torch.testing.assert_close(criterion(z, y), losses.mean())
    torch.testing.assert_close(criterion(z, {"label": y}), losses.mean())
    weight = torch.arange(6.0) / 2.5
    whole = criterion(z, {"label": y, "weight": weight})
    torch.testing.assert_close(whole, (weight * losses).mean())
    # Batches of a half each, the first of light samples: their mean is that of all samples.
    halves = [criterion(z[part], {"label": y[part], "weight": weight[part]}) for part in HALVES]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_criterion_hands_over_the_index():
    class Index(SampleLoss):
        needs_index = True

        def forward(self, logits, labels, index):
            return index.to(logits.dtype)

    z, y = some_logits(3)
    target = {"label": y, "index": torch.tensor([2, 4, 6])}
    assert WeightedMean(Index())(z, target) == 4
    assert WeightedMean(prepared(ClassBalanced(ELR())))(z, target).isfinite()


def test_names_are_classes_with_published_defaults():
    assert (LOSSES["gce"]().q, LOSSES["agce"]().a, LOSSES["agce"]().q) == (0.7, 0.6, 0.6)
    assert (LOSSES["sce"]().alpha, LOSSES["sce"]().beta) == (0.1, 1.0)
    assert (LOSSES["elr"]().memory, LOSSES["elr"]().strength) == (0.7, 3.0)
    assert (LOSSES["ldam"]().max_margin, LOSSES["ldam"]().scale) == (0.5, 30.0)


def test_a_class_without_samples_weighs_as_one_of_one():
    weights = mean_one_weights(torch.tensor([10.0, 1.0, 0.0]), 0.9)
    assert weights[2] == weights[1]
    loss = LDAM()
    loss.prepare(torch.tensor([16.0, 0.0]), 16)
    torch.testing.assert_close(loss.margins, torch.tensor([0.25, 0.5]))


def test_margins_fall_with_the_fourth_root_of_the_size():
    loss = LDAM(max_margin=0.5)
    loss.prepare(torch.tensor([16.0, 256.0]), 272)
    torch.testing.assert_close(loss.margins, torch.tensor([0.5, 0.25]))


def test_at_beta_1_classes_weigh_alike_in_all():
    weights = mean_one_weights(COUNTS, 1.0)
    torch.testing.assert_close(weights * COUNTS, torch.full((4,), COUNTS.sum() / 4).double())


def test_a_weighed_loss_hears_of_the_epochs_and_waits_before_the_first():
    z, y = some_logits()
    loss = prepared(ClassBalanced(GCE(truncation=0.9, truncate_from=0.5), start=0.8))
    torch.testing.assert_close(loss(z, y), GCE(truncation=0.9)(z, y))
    for epoch in (0, 5):
        loss.set_epoch(epoch, 10)
        expected = GCE(truncation=0.9 if epoch else None)
        torch.testing.assert_close(loss(z, y), expected(z, y))


def test_elr_remembers_distributions_and_stays_finite_however_long_it_agrees():
    loss = ELR(memory=0.5)
    loss.prepare(torch.ones(3), 1)
    z, y, row = torch.tensor([[200.0, 0.0, 0.0]]), torch.tensor([0]), torch.tensor([0])
    for n_seen in range(1, 101):
        value = loss(z, y, row)
        torch.testing.assert_close(
            loss.targets.sum(), torch.tensor(1 - 0.5**n_seen), atol=1e-6, rtol=0
        )
    assert torch.isfinite(value).all()
