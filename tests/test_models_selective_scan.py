"""The scan against its definition, written as the plain loop of the paper in float64."""

import pytest
import torch
from torch.nn import functional as F

from models.selective_scan import linear_recurrence, selective_scan


def plain_scan(u, delta, A, B, C, D, delta_bias):
    """h_t = exp(dt A) h_{t-1} + dt B_t u_t; y_t = C_t h_t + D u_t."""
    delta = F.softplus(delta + delta_bias[:, None])
    h = torch.zeros(u.shape[0], u.shape[1], A.shape[1], dtype=u.dtype)
    out = []
    for t in range(u.shape[2]):
        dt = delta[:, :, t, None]
        h = torch.exp(dt * A) * h + dt * B[:, None, :, t] * u[:, :, t, None]
        out.append((h * C[:, None, :, t]).sum(-1) + D * u[:, :, t])
    return torch.stack(out, dim=2)


def inputs(length=23, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()

    A = (-torch.rand(6, 4, generator=generator, dtype=torch.float64) * 8).to(dtype).requires_grad_()
    return (
        normal(3, 6, length),
        normal(3, 6, length),
        A,
        normal(3, 4, length),
        normal(3, 4, length),
        normal(6),
        normal(6),
    )


@pytest.mark.parametrize("length", [1, 2, 23, 64])
def test_forward_and_backward_equal_the_plain_loop(length):
    ours, reference = inputs(length), inputs(length)
    y, expected = selective_scan(*ours), plain_scan(*reference)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    (y * weight).sum().backward()
    (expected * weight).sum().backward()
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-9)


def test_the_recurrence_passes_gradcheck():
    a = torch.rand(5, 2, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear_recurrence, (a, b))


def test_inference_gives_what_training_gives():
    values = inputs()
    with torch.inference_mode():
        without_graph = selective_scan(*values)
    torch.testing.assert_close(without_graph, selective_scan(*values).detach(), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [1e-4, 30.0])
def test_very_small_and_very_large_steps_stay_close_to_float64(scale):
    exact = plain_scan(*inputs(64, scale))
    y = selective_scan(*inputs(64, scale, torch.float32))
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y.double(), exact, rtol=2e-4, atol=2e-4 * float(exact.detach().abs().max()))
