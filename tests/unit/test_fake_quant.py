"""Fake quantization: it rounds as simulation does, and its gradients are those of LSQ and LSQ+."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.methods.quantize.fake_quant import FakeInput, FakeWeight, _Bounded, _RoundInput, _RoundWeight
from slimline.methods.quantize.plan import layer_plan
from slimline.methods.quantize.ranges import aligned_range, symmetric_range
from slimline.methods.quantize.simulate import fake_quantize
from slimline.methods.quantize.weights import rounded_weight


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def entry(granularity: str = "per-channel") -> dict[str, Any]:
    return layer_plan(nn.Linear(1, 1), "int8", activations=True, input_range=(0, 1), granularity=granularity)


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_an_untrained_weight_is_rounded_as_the_plan_says(granularity: str) -> None:
    weight = noise(6, 3, 3, 3) * torch.logspace(-4, 3, 6).view(6, 1, 1, 1)
    fake = FakeWeight(weight, entry(granularity), learned=True)
    trained = fake.right_inverse(weight)
    assert torch.equal(fake(trained), rounded_weight(weight, entry(granularity)))
    assert torch.equal(fake.clipped(trained), weight)
    assert 0.5 <= float(trained.abs().max()) < 1
    if granularity == "per-channel":
        assert float(trained.abs().flatten(1).amax(1).min()) >= 0.5, "each channel in its own unit"


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_what_is_saved_of_a_clipped_weight_gives_exactly_what_training_saw(granularity: str) -> None:
    weight = noise(16, 20)
    fake = FakeWeight(weight, entry(granularity), learned=True)
    with torch.no_grad():
        fake.shrink.copy_(-noise(*fake.shrink.shape, seed=1).abs())
    trained = fake.right_inverse(weight)
    saved = fake.clipped(trained)
    assert torch.equal(rounded_weight(saved, entry(granularity)), fake(trained))
    largest = saved.abs().amax(dim=1, keepdim=True)
    assert torch.equal(largest.amax(dim=0, keepdim=True) if granularity == "per-tensor" else largest, fake.threshold(weight))
    assert bool((saved.abs() <= weight.abs()).all()), "a scale never above max|w| / 127"
    assert bool((saved != weight).any())


@pytest.mark.parametrize("ends", [(0.0, 3.0), (-1.3, 2.6), (-2.0, 0.0)])
def test_an_input_is_rounded_as_simulation_rounds_it(ends: tuple[float, float]) -> None:
    fake, x = FakeInput(aligned_range(*ends), learned=True), 2 * noise(64, 40)
    for stretch in (0.0, 0.3, -0.7):
        with torch.no_grad():
            fake.stretch.copy_(torch.tensor([stretch, -stretch / 3]))
        low, high = fake.input_range()
        assert torch.equal(fake(x), fake_quantize(x, low, high))
        assert 0 in fake(x)
        assert abs(aligned_range(low, high)[0] - low) < 1e-9, "zero is a level already"
        assert low <= 0 <= high
        assert (low == 0) == (ends[0] == 0)


def test_symmetric_ends_move_as_one() -> None:
    fake = FakeInput(symmetric_range(-1.0, 2.0), learned=True, symmetric=True)
    with torch.no_grad():
        fake.stretch.fill_(0.4)
    low, high = fake.input_range()
    assert low / high == pytest.approx(-128 / 127, rel=1e-6)
    assert high == pytest.approx(symmetric_range(-1.0, 2.0)[1] * 1.4918247, rel=1e-5)


def test_gradients_of_scale_and_zero_point_are_those_of_lsq_plus() -> None:
    """torch's own learnable fake quantization, which no public function shows, is the closed form to compare with."""
    x, upstream = (2 * noise(8, 50)).requires_grad_(), noise(8, 50, seed=3)
    for zero_point in (0.0, 70.0, 255.0):
        scale, point = torch.tensor(0.011, requires_grad=True), torch.tensor(zero_point, requires_grad=True)
        ours = torch.autograd.grad(_RoundInput.apply(x, scale, point), (x, scale, point), upstream)
        scales, points = torch.tensor([0.011], requires_grad=True), torch.tensor([zero_point], requires_grad=True)
        factor = (50 * 255) ** -0.5
        theirs = torch._fake_quantize_learnable_per_tensor_affine(x, scales, points, 0, 255, factor)
        expected = torch.autograd.grad(theirs, (x, scales, points), upstream)
        for mine, other in zip(ours, expected, strict=True):
            assert torch.allclose(mine, other.view_as(mine), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_weight_threshold_is_that_of_lsq() -> None:
    weight, upstream = noise(5, 60).requires_grad_(), noise(5, 60, seed=3)
    fractions = torch.tensor([0.1, 0.3, 0.6, 0.9, 1.0]).view(5, 1)
    threshold = (weight.detach().abs().amax(dim=1, keepdim=True) * fractions).requires_grad_()
    by_weight, by_threshold = torch.autograd.grad(_RoundWeight.apply(weight, threshold, entry()), (weight, threshold), upstream)
    scaled = (weight * 127 / threshold).detach()
    slope = torch.where(weight.abs() <= threshold, scaled.round() - scaled, scaled.sign() * 127)
    assert torch.equal(by_weight, upstream * (weight.abs() <= threshold))
    assert torch.allclose(by_threshold, (upstream * slope).sum(1, keepdim=True) / 127 * (60 * 127) ** -0.5, rtol=1e-3, atol=1e-6)


def test_clipped_values_move_a_threshold_as_finite_differences_say() -> None:
    """Where rounding plays no part (all values beyond the threshold), the gradient is the true one."""
    weight, upstream = torch.tensor([[3.0, -4.0, 5.0]]), torch.tensor([[1.0, 2.0, -0.5]])
    threshold = torch.tensor([[2.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(_RoundWeight.apply(weight, threshold, entry()), threshold, upstream)
    low, high = (float((_RoundWeight.apply(weight, torch.tensor([[2.0 + step]]), entry()) * upstream).sum()) for step in (-0.01, 0.01))
    assert float(gradient) * (3 * 127) ** 0.5 == pytest.approx((high - low) / 0.02, rel=1e-4)


def test_a_fraction_at_its_bound_can_only_go_inside() -> None:
    x = torch.tensor([0.0, 0.0, 0.1, -0.2, -0.2], requires_grad=True)
    (gradient,) = torch.autograd.grad(_Bounded.apply(x), x, torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))
    assert gradient.tolist() == [1.0, 0.0, 1.0, 1.0, -1.0]


def test_calibrated_ranges_are_not_trained() -> None:
    weight, x = noise(4, 6), noise(3, 6)
    fake_weight, fake_input = FakeWeight(weight, entry(), learned=False), FakeInput((0.0, 2.0), learned=False)
    trained = fake_weight.right_inverse(weight).requires_grad_()
    nn.functional.linear(fake_input(x), fake_weight(trained)).sum().backward()
    assert trained.grad is not None
    assert fake_weight.shrink.grad is None
    assert fake_input.stretch.grad is None
