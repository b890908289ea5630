"""Each equation of SAR-JointNet's diffusion by hand, and Algorithm 2 against a loop written out."""

import math

import numpy as np
import pytest
import torch

from ingest.errors import UsageError
from models.classes import IGNORE
from models.jointnet.diffusion import (
    SOLVERS,
    Balanced,
    as_logits,
    noised,
    one_hot,
    rescaled,
    sample,
    scaled_labels,
    solver_of,
    training_loss,
)

B = 0.466


def squared_cosine(timesteps=1000):
    """alpha_t**2 for t = 1..T as Nichol & Dhariwal define it, betas capped at 0.999."""

    def alpha_bar(u):
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - alpha_bar((i + 1) / timesteps) / alpha_bar(i / timesteps), 0.999) for i in range(timesteps)]
    return np.cumprod(1 - np.array(betas))


def test_labels_are_scaled_to_minus_b_and_b():
    labels = torch.tensor([[[0, 1], [IGNORE, 0]]])
    assert one_hot(labels, 2).tolist() == [[[[1, 0], [0, 1]], [[0, 1], [0, 0]]]]
    y_0 = scaled_labels(labels, 2, B)  # Eq. 1
    expected = torch.tensor([[[[B, -B], [-B, B]], [[-B, B], [-B, -B]]]])
    torch.testing.assert_close(y_0, expected)


def test_noise_is_added_by_the_squared_cosine_schedule():
    torch.manual_seed(0)
    x_0, epsilon = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    t = torch.tensor([0, 499, 998])
    alpha_2 = torch.tensor(squared_cosine()[t], dtype=torch.float32).view(-1, 1, 1, 1)
    expected = alpha_2.sqrt() * x_0 + (1 - alpha_2).sqrt() * epsilon  # Eq. 2
    torch.testing.assert_close(noised(x_0, epsilon, t), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("logits", [True, False])
def test_the_loss_of_algorithm_1_by_hand(logits):
    torch.manual_seed(1)
    x_0, labels = torch.rand(2, 1, 4, 4) * 2 - 1, torch.randint(0, 3, (2, 4, 4))
    epsilon = torch.randn(2, 1, 4, 4), torch.randn(2, 3, 4, 4)
    t, balanced = torch.tensor([10, 700]), Balanced(B, logits)
    seen = {}

    def predict(x_t, y_t, steps):
        seen.update(x_t=x_t, y_t=y_t, t=steps)
        return 0.5 * x_t, 2.0 * y_t

    l_x, l_y = training_loss(predict, x_0, labels, t, epsilon, balanced)
    alpha_2 = squared_cosine()[t]
    x, y, truth = x_0.numpy(), np.full((2, 3, 4, 4), -B), labels.numpy()
    for c in range(3):
        y[:, c][truth == c] = B
    for name, clean, noise in (("x_t", x, epsilon[0].numpy()), ("y_t", y, epsilon[1].numpy())):
        expected = [math.sqrt(a) * one + math.sqrt(1 - a) * e for a, one, e in zip(alpha_2, clean, noise, strict=True)]
        np.testing.assert_allclose(seen[name], np.stack(expected), atol=1e-5)
    assert seen["t"].tolist() == [10, 700]
    x_hat, y_hat = 0.5 * seen["x_t"].double().numpy(), 2 * seen["y_t"].double().numpy()
    assert float(l_x) == pytest.approx(np.mean((x_hat - x) ** 2), rel=1e-4)  # Eq. 5
    if logits:
        p = np.exp(y_hat) / np.exp(y_hat).sum(axis=1, keepdims=True)
        of_truth = np.take_along_axis(p, truth[:, None], axis=1)
        assert float(l_y) == pytest.approx(-np.log(of_truth).mean(), rel=1e-4)  # Eq. 6
    else:
        assert float(l_y) == pytest.approx(np.mean((y_hat - y) ** 2), rel=1e-4)


def test_unlabelled_pixels_teach_nothing_about_labels():
    labels = torch.tensor([[[0, IGNORE], [IGNORE, IGNORE]]])
    epsilon = torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)
    y_hat = torch.zeros(1, 2, 2, 2)
    y_hat[:, 1, 0, 1] = 50.0  # sure and wrong, where nobody knows

    def predict(x_t, y_t, t):
        return x_t, y_hat

    _, l_y = training_loss(predict, torch.zeros(1, 1, 2, 2), labels, torch.tensor([5]), epsilon, Balanced(B))
    assert float(l_y) == pytest.approx(math.log(2))


@pytest.mark.parametrize("logits", [True, False])
def test_a_part_without_any_label_has_no_loss_of_labels_and_moves_nothing(logits):
    """Or one crop beyond the edge of the data would turn all weights into NaN."""
    y_hat = torch.randn(1, 2, 2, 2, requires_grad=True)
    labels, epsilon = torch.full((1, 2, 2), IGNORE), (torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))
    x_0, t = torch.zeros(1, 1, 2, 2), torch.tensor([5])
    _, l_y = training_loss(lambda x_t, y_t, t: (x_t, y_hat), x_0, labels, t, epsilon, Balanced(B, logits))
    l_y.backward()
    assert float(l_y.detach()) == 0
    assert not y_hat.grad.any()


def test_without_cross_entropy_too_unlabelled_pixels_teach_nothing():
    labels = torch.tensor([[[0, IGNORE], [IGNORE, IGNORE]]])
    epsilon, y_hat = (torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)), torch.full((1, 2, 2, 2), 7.0)
    y_hat[0, :, 0, 0] = torch.tensor([B + 0.1, -B - 0.3])
    _, l_y = training_loss(
        lambda x_t, y_t, t: (x_t, y_hat),
        torch.zeros(1, 1, 2, 2),
        labels,
        torch.tensor([5]),
        epsilon,
        Balanced(B, False),
    )
    assert float(l_y) == pytest.approx((0.1**2 + 0.3**2) / 2, rel=1e-4)


def test_predicted_logits_are_rescaled_to_the_range_of_the_labels():
    y_hat = torch.tensor([[[[3.0]], [[-1.0]], [[0.5]]]])
    p = np.exp([3.0, -1.0, 0.5]) / np.exp([3.0, -1.0, 0.5]).sum()
    np.testing.assert_allclose(rescaled(y_hat, Balanced(B)).flatten(), (p * 2 - 1) * B, rtol=1e-5)  # Eq. 21
    extreme = rescaled(torch.tensor([[[[90.0]], [[-90.0]]]]), Balanced(B))
    torch.testing.assert_close(extreme.flatten(), torch.tensor([B, -B]))
    torch.testing.assert_close(rescaled(y_hat, Balanced(B, logits=False)), y_hat)


def test_predicted_labels_without_cross_entropy_become_logits():
    y_hat = torch.tensor([[[[B, 0.0]], [[-B, 0.0]]]])
    p = as_logits(y_hat, Balanced(B, logits=False)).softmax(dim=1)
    np.testing.assert_allclose(p[0, :, 0, 0], [1, 0], atol=2e-4)
    np.testing.assert_allclose(p[0, :, 0, 1], [0.5, 0.5])


@pytest.mark.parametrize("logits", [True, False])
def test_algorithm_2_with_ddim_is_the_loop_of_the_paper(logits):
    torch.manual_seed(2)
    noise, balanced, steps = (torch.randn(2, 1, 4, 4), torch.randn(2, 3, 4, 4)), Balanced(B, logits), 8
    weights = torch.randn(4, 4)

    def predict(x_t, y_t, t):
        both = torch.tanh(torch.einsum("ij,bjhw->bihw", weights, torch.cat([x_t, y_t], 1)) + t.view(-1, 1, 1, 1) / 1e3)
        return both[:, :1], both[:, 1:]

    x, said = sample(predict, noise, balanced, "ddim", steps)
    alpha_2 = squared_cosine()
    times = [round(1000 - i * 1000 / steps) - 1 for i in range(steps)]
    z_x, z_y = (one.double().numpy() for one in noise)
    for t, s in zip(times, [*times[1:], None], strict=True):
        x_hat, y_hat = (p.double().numpy() for p in predict(torch.tensor(z_x).float(), torch.tensor(z_y).float(),
                                                            torch.full((2,), t)))  # fmt: skip
        p = np.exp(y_hat) / np.exp(y_hat).sum(axis=1, keepdims=True)
        y_pred = (p * 2 - 1) * B if logits else y_hat  # Eq. 21
        a_t, a_s = alpha_2[t], 1.0 if s is None else alpha_2[s]
        z_x, z_y = (
            math.sqrt(a_s) * clean + math.sqrt(1 - a_s) * (z - math.sqrt(a_t) * clean) / math.sqrt(1 - a_t)
            for clean, z in ((x_hat, z_x), (y_pred, z_y))
        )
    np.testing.assert_allclose(x, z_x, atol=2e-4)
    if logits:
        np.testing.assert_allclose(said, y_hat, atol=2e-4)
    else:
        np.testing.assert_allclose(said.argmax(1), y_hat.argmax(1))


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_solvers_end_where_a_sure_prediction_points(solver):
    x_0, y_0 = torch.full((1, 1, 2, 2), 0.3), torch.tensor([[[[9.0]], [[-9.0]]]]).expand(1, 2, 2, 2)
    noise = torch.randn(1, 1, 2, 2), torch.randn(1, 2, 2, 2)
    x, logits = sample(lambda x_t, y_t, t: (x_0, y_0), noise, Balanced(B), solver, 10)
    torch.testing.assert_close(x, x_0, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits, y_0)


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_solvers_go_from_the_last_timestep_to_none(solver):
    times = solver_of(solver, 20).timesteps.tolist()
    assert times[0] == 999
    assert len(times) == 20
    assert times == sorted(times, reverse=True)


def test_the_faster_solver_comes_closer_in_few_steps():
    """For Gaussian data the best prediction is linear and the exact end of every path is known."""
    mean, deviation = 0.4, 0.25
    alpha_2 = torch.tensor(squared_cosine(), dtype=torch.float32)

    def predict(x_t, y_t, t):
        a = alpha_2[t].view(-1, 1, 1, 1)
        gain = a.sqrt() * deviation**2 / (a * deviation**2 + 1 - a)
        return mean + gain * (x_t - a.sqrt() * mean), torch.zeros_like(y_t)

    torch.manual_seed(3)
    noise = torch.randn(64, 1, 4, 4), torch.zeros(64, 2, 4, 4)
    exact = mean + deviation * noise[0]
    ddim, dpm = (float((sample(predict, noise, Balanced(B), solver, 20)[0] - exact).abs().mean()) for solver in SOLVERS)
    assert dpm < 0.5 * ddim < 0.05


def test_an_unknown_solver_is_one_line():
    with pytest.raises(UsageError, match=r"known are ddim, dpm\+\+"):
        solver_of("euler", 5)


@pytest.mark.parametrize("steps", [0, 7, 300])
def test_steps_that_do_not_divide_the_timesteps_are_refused(steps):
    with pytest.raises(UsageError, match="do not divide 1000"):
        solver_of("ddim", steps)


def test_the_steps_that_are_offered_instead_divide_the_timesteps():
    with pytest.raises(UsageError, match=r"give one of 5, 10, 20, 25, 50, 100$"):
        solver_of("ddim", 200, timesteps=100)


def test_labels_are_restored_from_image_and_truth_that_are_as_noisy_as_asked():
    from models.jointnet.labelling import restored

    torch.manual_seed(4)
    x_0, truth = torch.rand(2, 1, 4, 4), torch.randint(0, 2, (2, 4, 4))
    noise = torch.randn(2, 1, 4, 4), torch.randn(2, 2, 4, 4)

    def predict(x_t, y_t, t):
        assert t.tolist() == [600, 600]
        return x_t, y_t + 3 * x_t

    y_0 = np.where(truth.numpy()[:, None] == np.arange(2)[:, None, None], B, -B)
    alpha_2 = squared_cosine()[600]
    x_t, y_t = (
        math.sqrt(alpha_2) * clean + math.sqrt(1 - alpha_2) * e.numpy()
        for clean, e in zip((x_0.numpy(), y_0), noise, strict=True)
    )
    logits = restored(predict, Balanced(B), 600)(x_0, truth, noise)
    np.testing.assert_allclose(logits, y_t + 3 * x_t, atol=1e-4)
