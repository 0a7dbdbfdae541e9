"""The tower's activation, whether it answers or learns."""

import pytest
import torch

from kosmos2.model.quick_gelu import STEEP, quick_gelu


def plain(x):
    return x * torch.sigmoid(STEEP * x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_it_is_x_times_its_sigmoid_and_learning_sees_the_same_numbers(dtype):
    x = torch.linspace(-30, 30, 1001, dtype=dtype)
    kept = x.clone()
    told = quick_gelu(x)
    torch.testing.assert_close(told, plain(x))
    assert torch.equal(x, kept), "what came in is not changed"
    assert torch.equal(quick_gelu(x.clone().requires_grad_()).detach(), told)


def test_its_slope_is_that_of_the_plain_formula_and_that_of_differences():
    x = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, torch.tensor([[-800.0, -20.0, 0.0, 20.0, 800.0]], dtype=torch.float64)])
    grad = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slopes = []
    for activation in (quick_gelu, plain):
        leaf = x.clone().requires_grad_()
        activation(leaf).backward(grad)
        slopes.append(leaf.grad)
    torch.testing.assert_close(*slopes)
    assert torch.autograd.gradcheck(quick_gelu, x[:7].requires_grad_())


def test_learning_keeps_nothing_but_what_came_in():
    kept = []
    x = torch.randn(4, 6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda o: o):
        quick_gelu(x)
    assert [one.data_ptr() for one in kept] == [x.data_ptr()]


def test_compiled_it_is_the_same():
    x = torch.randn(3, 8, requires_grad=True)
    compiled = torch.compile(quick_gelu, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), plain(x))
