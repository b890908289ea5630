"""Every way to scan against the definition, written as the plain loop of the paper in float64."""

import importlib.util
import os
import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ingest.errors import UsageError
from models.networks import selective_scan as module
from models.networks.selective_scan import SCANS, scan_with, selective_scan

NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias")


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


def inputs(length=23, scale=1.0, dtype=torch.float64, batch=3, channels=6, states=4, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)

    def leaf(values):
        return values.to(device=device, dtype=dtype).requires_grad_()

    def normal(*shape):
        return leaf(torch.randn(*shape, generator=generator, dtype=torch.float64) * scale)

    A = leaf(-torch.rand(channels, states, generator=generator, dtype=torch.float64) * 8)
    return (
        normal(batch, channels, length),
        normal(batch, channels, length),
        A,
        normal(batch, states, length),
        normal(batch, states, length),
        normal(channels),
        normal(channels),
    )


def exact(values):
    return tuple(value.detach().cpu().double().requires_grad_() for value in values)


def assert_same_forward_and_backward(scan, values, tolerance):
    """Compare values and gradients with the float64 loop, relative to the largest of each."""
    reference = exact(values)
    y, expected = scan(*values), plain_scan(*reference)
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
    (y.double().cpu() * weight).sum().backward()
    (expected * weight).sum().backward()
    pairs = [("y", y, expected)] + [
        (name, ours.grad, other.grad) for name, ours, other in zip(NAMES, values, reference, strict=True)
    ]
    for name, ours, other in pairs:
        assert torch.isfinite(ours).all(), name
        atol = tolerance * float(other.detach().abs().max()) + 1e-30
        torch.testing.assert_close(
            ours.detach().cpu().double(), other.detach(), rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.fixture(scope="module")
def triton_scan():
    """Our Triton scan and the device to run it on: a GPU, or Triton's interpreter where there is none."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("the package triton is not here")
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("triton was imported before without its interpreter; set TRITON_INTERPRET=1")
        os.environ["TRITON_INTERPRET"] = "1"
    return module.triton_scan, "cuda" if on_gpu else "cpu"


@pytest.mark.parametrize("name", ["torch", "loop"])
@pytest.mark.parametrize("length", [1, 2, 23, 64])
def test_forward_and_backward_equal_the_plain_loop(name, length):
    with scan_with(name):
        assert_same_forward_and_backward(selective_scan, inputs(length), 1e-12)


@pytest.mark.parametrize("states_at_once", [1, 100, 72 * 7, 10**9])
def test_chunks_of_time_do_not_show(monkeypatch, states_at_once):
    monkeypatch.setattr(module, "CHUNK_STATES", states_at_once)
    assert_same_forward_and_backward(selective_scan, inputs(23), 1e-12)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 5),
    states=st.integers(1, 4),
    length=st.integers(1, 9),
    scale=st.floats(0, 50),
    at_once=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_any_shape_and_scale_equals_the_plain_loop(batch, channels, states, length, scale, at_once, seed):
    whole = module.CHUNK_STATES
    try:
        module.CHUNK_STATES = at_once
        values = inputs(length, scale, batch=batch, channels=channels, states=states, seed=seed)
        assert_same_forward_and_backward(selective_scan, values, 1e-10)
    finally:
        module.CHUNK_STATES = whole


def test_the_scan_passes_gradcheck(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_STATES", 40)  # two steps of 2 x 3 x 4 states, and one left over
    assert torch.autograd.gradcheck(selective_scan, inputs(5, batch=2, channels=3))


def test_inference_gives_what_training_gives():
    values = inputs()
    with torch.inference_mode():
        without_graph = selective_scan(*values)
    assert torch.equal(without_graph, selective_scan(*values).detach())


@pytest.mark.parametrize("scale", [1e-4, 30.0])
def test_float32_stays_close_to_float64_for_small_and_large_steps(scale):
    assert_same_forward_and_backward(selective_scan, inputs(64, scale, torch.float32), 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_goes_in_and_out_and_only_rounds_at_the_ends(dtype):
    values = inputs(196, dtype=dtype)
    y = selective_scan(*values)
    assert y.dtype == dtype
    in_float = selective_scan(*(value.float() for value in values))
    assert torch.equal(y, in_float.to(dtype))
    y.float().sum().backward()
    assert all(value.grad.dtype == dtype and torch.isfinite(value.grad).all() for value in values)


def test_autocast_leaves_the_scan_in_single_precision():
    values = inputs(40, dtype=torch.float32)
    alone = selective_scan(*values)
    with torch.autocast("cpu", torch.bfloat16):
        inside = selective_scan(*values)
    assert torch.equal(alone, inside)


@pytest.mark.parametrize("delta", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("decay", [0.0, -1e-12, -1.0, -1e6])
def test_extreme_steps_and_decays_stay_finite_and_right(delta, decay):
    u, steps, A, *rest = inputs(9, dtype=torch.float32)
    values = u, torch.full_like(steps, delta).requires_grad_(), torch.full_like(A, decay).requires_grad_(), *rest
    assert_same_forward_and_backward(selective_scan, values, 1e-5)


def test_zero_in_gives_zero_out():
    values = inputs()
    assert not selective_scan(torch.zeros_like(values[0]), *values[1:]).any()


def test_tensors_of_any_strides_are_taken():
    values = inputs(12)
    strided = [value.detach() for value in values]
    for i in (0, 1, 3, 4):  # as they leave linear layers, and every other of a longer sequence
        strided[i] = strided[i].transpose(1, 2).contiguous().transpose(1, 2)
    strided[0] = strided[0].repeat_interleave(2, dim=2)[..., ::2]
    assert not any(strided[i].is_contiguous() for i in (0, 1, 3, 4))
    torch.testing.assert_close(selective_scan(*strided), selective_scan(*values).detach(), rtol=1e-12, atol=1e-12)


def test_a_long_sequence_forgets_its_start_and_stays_bounded():
    values = [value.detach() for value in inputs(20_000, dtype=torch.float32, batch=1, channels=2)]
    values[2] = torch.full_like(values[2], -1.0)
    changed = [value.clone() for value in values]
    changed[0][..., 0] += 100
    y, other = selective_scan(*values), selective_scan(*changed)
    assert torch.isfinite(y).all()
    assert not torch.equal(y[..., 0], other[..., 0])
    assert torch.equal(y[..., 1000:], other[..., 1000:])


def test_a_step_never_sees_what_comes_after():
    values = [value.detach() for value in inputs(16)]
    later = [value.clone() for value in values]
    for i in (0, 1, 3, 4):
        later[i][..., 9:] += 1
    assert torch.equal(selective_scan(*values)[..., :9], selective_scan(*later)[..., :9])


def test_on_a_cpu_the_torch_scan_is_chosen():
    values = inputs()
    assert next(name for name, path in SCANS.items() if path.takes(values[0])) == "torch"


@pytest.mark.parametrize(
    ("present", "dtype", "expected"),
    [
        ({"mamba_ssm.ops.selective_scan_interface", "triton"}, torch.float32, "mamba-ssm"),
        ({"triton"}, torch.bfloat16, "triton"),
        (set(), torch.float32, "torch"),
        ({"mamba_ssm.ops.selective_scan_interface", "triton"}, torch.float64, "torch"),
    ],
)
def test_on_a_gpu_the_fastest_that_is_there_is_chosen(monkeypatch, present, dtype, expected):
    monkeypatch.setattr(module, "_importable", lambda name: name in present)
    on_gpu = types.SimpleNamespace(is_cuda=True, dtype=dtype)
    assert next(name for name, path in SCANS.items() if path.takes(on_gpu)) == expected


def test_a_scan_can_be_forced_by_name_and_an_unknown_one_is_refused(monkeypatch):
    called = []
    monkeypatch.setitem(SCANS, "loop", module.ScanPath(lambda *values: called.append(values), lambda u: True))
    values = inputs()
    with scan_with("loop"):
        selective_scan(*values)
        with scan_with(None):
            selective_scan(*values)
    selective_scan(*values)
    assert len(called) == 1
    with pytest.raises(UsageError, match=r"known are mamba-ssm, triton, torch, loop"), scan_with("fortran"):
        pass


def test_mamba_ssm_is_called_as_it_wants(monkeypatch):
    """A stand-in with the signature of mamba-ssm 2, which adds the bias and applies softplus itself."""
    seen = {}

    def selective_scan_fn(
        u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
    ):
        seen.update(dtypes=[x.dtype for x in (u, delta, B, C)], weights=[x.dtype for x in (A, D, delta_bias)])
        assert z is None
        assert delta_softplus
        assert not return_last_state
        return plain_scan(*(x.double() for x in (u, delta, A, B, C, D, delta_bias))).to(u.dtype)

    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    u, delta, *rest = (value.detach() for value in inputs(dtype=torch.float32))
    with scan_with("mamba-ssm"):
        y = selective_scan(u.bfloat16(), delta, *rest)
    assert seen["dtypes"] == [torch.bfloat16] * 4
    assert seen["weights"] == [torch.float32] * 3
    torch.testing.assert_close(y.float(), selective_scan(u, delta, *rest), rtol=0.05, atol=0.3)


def test_a_package_that_does_not_import_is_not_used(monkeypatch):
    def broken(name):
        raise OSError("undefined symbol")

    monkeypatch.setattr(module, "import_module", broken)
    module._importable.cache_clear()
    try:
        assert not module._importable("mamba_ssm.ops.selective_scan_interface")
    finally:
        module._importable.cache_clear()


@pytest.mark.parametrize(
    ("length", "channels", "states", "scale"), [(1, 6, 4, 1.0), (7, 37, 5, 1.0), (5, 32, 8, 30.0), (9, 3, 1, 1e-4)]
)
def test_triton_equals_the_plain_loop(triton_scan, length, channels, states, scale):
    scan, device = triton_scan
    values = inputs(length, scale, torch.float32, batch=2, channels=channels, states=states, device=device)
    assert_same_forward_and_backward(scan, values, 1e-4)


@pytest.mark.parametrize("delta", [-1e4, -12.0, 100.0, 1e4])
def test_triton_is_finite_and_right_for_extreme_steps(triton_scan, delta):
    scan, device = triton_scan
    u, steps, *rest = inputs(4, dtype=torch.float32, device=device)
    assert_same_forward_and_backward(scan, (u, torch.full_like(steps, delta).requires_grad_(), *rest), 1e-5)


def test_triton_takes_half_precision(triton_scan):
    scan, device = triton_scan
    values = [value.detach() for value in inputs(6, dtype=torch.bfloat16, device=device)]
    y = scan(*values)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(
        y.float().cpu(), module.torch_scan(*values).float().cpu(), rtol=2**-7, atol=1e-2
    )  # within a rounding of bfloat16
