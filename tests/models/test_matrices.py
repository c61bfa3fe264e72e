import pytest
import torch
from torch import nn

from daf_pipelines.models.matrices import kept

CPU = torch.device("cpu")


@pytest.fixture
def doubling():
    """A matrix of 2 on the diagonal, and the sizes that it was made in."""
    made = []

    @kept
    def matrix(size):
        made.append(size)
        return [[2.0 * (i == j) for j in range(size)] for i in range(size)]

    return matrix, made


class Doubled(nn.Module):
    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, x):
        return self.matrix(len(x), x.device, x.dtype) @ x


def test_made_once_a_size_and_type(doubling):
    matrix, made = doubling
    for _ in range(3):
        for dtype in (torch.float32, torch.float64):
            found = matrix(3, CPU, dtype)
            assert found.dtype == dtype
            assert torch.equal(found, 2 * torch.eye(3, dtype=dtype))
    assert made == [3, 3]


def test_first_asked_for_while_scoring_it_still_serves_training(doubling):
    matrix, _ = doubling
    with torch.inference_mode():
        matrix(3, CPU, torch.float32)
    x = torch.ones(3, 1, requires_grad=True)
    (matrix(3, CPU, torch.float32) @ x).sum().backward()
    assert x.grad.unique() == 2


def test_an_export_neither_leaves_nor_finds_a_traced_one(doubling):
    matrix, _ = doubling
    x = torch.ones(3, 1)
    exported = torch.export.export(Doubled(matrix), (x,)).module()
    assert type(matrix(3, CPU, torch.float32)) is torch.Tensor
    assert torch.equal(exported(x), 2 * x)
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    constant = {"aten.lift_fresh_copy.default", "aten.detach_.default"}
    assert called - constant == {"aten.matmul.default"}  # nothing is computed but the product
    again = torch.export.export(Doubled(matrix), (x,)).module()
    assert torch.equal(again(x), 2 * x)


def test_torch_compile_looks_through_it(doubling):
    matrix, _ = doubling
    compiled = torch.compile(Doubled(matrix), backend="eager", fullgraph=True)
    for size in (3, 4):
        x = torch.ones(size, 1)
        assert torch.equal(compiled(x), 2 * x)
        assert torch.equal(matrix(size, CPU, torch.float32) @ x, 2 * x)
