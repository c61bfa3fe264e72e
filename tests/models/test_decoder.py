import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import plain_daf
from daf_pipelines.models.decoder import (
    AuxiliaryHead,
    Decoder,
    Fusion,
    convolve_upsampled,
    inner,
    upsample,
)

RESNET18 = (64, 128, 256)


def scramble(module, seed=0):
    """Random weights and running statistics in double precision, so that nothing is trivial."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(noise.abs() + 0.5 if "running_var" in name else 0.2 * noise)
    return module


def fusion_of_nothing(led, decoder):
    """State of a fusion that yields 0, and of the convolution behind it as `decoder` has it."""
    state = {k: v for k, v in led.state_dict().items() if k.startswith("fusion")}
    weight = torch.cat([torch.ones(256, 256, 3, 3), decoder.conv3.weight.detach()], dim=1)
    return state | {"fusion.norm.bias": torch.zeros(256), "conv3.weight": weight}


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


class TestUpsample:
    def test_nearest_repeats_pixels(self):
        x = torch.arange(6.0).view(1, 1, 2, 3)
        expected = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        assert torch.equal(upsample(x, 2, mode="nearest"), expected)


class TestInner:
    def test_their_mean_is_a_quarter_of_the_size(self):
        x = torch.rand(2, 3, 24, 16, dtype=torch.float64)
        found = inner(x)
        assert found.shape == (2, 3, 12, 8)
        assert torch.equal(found[:, :, 2:4, 4:6], x[:, :, 5:7, 9:11])
        close(F.avg_pool2d(found, 2), plain_daf.bilinear(x, 0.25))


class TestConvolveUpsampled:
    @settings(max_examples=20, deadline=None)
    @given(
        st.integers(1, 2),
        st.integers(1, 5),
        st.integers(1, 6),
        st.integers(1, 9),
        st.integers(1, 9),
    )
    def test_equals_upsampling_first(self, batch, channels, count, height, width):
        generator = torch.Generator().manual_seed(height + 10 * width)
        options = {"generator": generator, "dtype": torch.float64}
        x = torch.randn(batch, channels, height, width, **options).requires_grad_()
        weight = torch.randn(count, channels, 3, 3, **options).requires_grad_()
        found = convolve_upsampled(x, weight)
        expected = F.conv2d(plain_daf.bilinear(x, 2), weight, padding=1)
        close(found, expected)
        loss = torch.randn(expected.shape, **options)
        for a, b in zip(
            torch.autograd.grad((loss * found).sum(), (x, weight)),
            torch.autograd.grad((loss * expected).sum(), (x, weight)),
            strict=True,
        ):
            close(a, b)


class TestFusion:
    @pytest.mark.parametrize("training", [True, False])
    def test_tiling_equals_the_plain_sum(self, pyramid, training):
        fusion = scramble(Fusion(RESNET18, 256)).train(training)
        maps = pyramid(RESNET18, size=64)
        found = fusion(maps)
        assert found.shape == (2, 256, 4, 4)
        close(found, plain_daf.bilinear(plain_daf.fuse(fusion, maps), 0.25))

    def test_tiles_are_in_order(self):
        # 0 1 0 1 beside 0 1 2 3: output channel 2 reads what input channel 0 and 2 hold.
        fusion = Fusion((2, 4, 4), 4).eval()
        fusion.convolutions[0].weight.data = torch.eye(4)[:, :, None, None]
        first = torch.tensor([10.0, 20]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
        second = torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
        third = torch.zeros(1, 4, 1, 1)
        found = fusion([first, second, third])[0, :, 0, 0]
        torch.testing.assert_close(found, torch.tensor([11.0, 22, 13, 24]), rtol=1e-4, atol=0)

    @pytest.mark.parametrize("training", [True, False])
    def test_counts_that_do_not_divide_are_projected(self, pyramid, training):
        channels, width = (24, 40, 112), 16
        fusion = scramble(Fusion(channels, width)).train(training)
        common = nn.Conv2d(112, width, 1, bias=False).double()
        projections = [nn.Conv2d(c, 112, 1, bias=False).double() for c in channels]
        for own, projection in zip(fusion.convolutions, projections, strict=True):
            product = common.weight.flatten(1) @ projection.weight.flatten(1)
            own.weight.data = product.detach()[:, :, None, None]
        maps = pyramid(channels, size=64)
        total = sum(
            p(F.interpolate(m, size=(16, 16), mode="nearest"))
            for p, m in zip(projections, maps, strict=True)
        )
        fused = F.relu(plain_daf.batch_norm(common(total), fusion.norm))
        close(fusion(maps), plain_daf.bilinear(fused, 0.25))

    def test_paper_has_one_convolution_of_256_channels(self):
        assert [c.weight.shape for c in Fusion(RESNET18, 256).convolutions] == [(256, 256, 1, 1)]


class TestDecoder:
    @pytest.mark.parametrize("training", [True, False])
    def test_equals_upsampling_first(self, pyramid, training):
        decoder = scramble(Decoder(RESNET18, RESNET18, 256)).train(training)
        maps, student = pyramid(RESNET18, size=64, seed=0), pyramid(RESNET18, size=64, seed=1)
        close(decoder(maps, student), plain_daf.decode(decoder, maps, student))

    def test_channels_of_the_paper(self):
        shapes = {k: tuple(v.shape) for k, v in Decoder(RESNET18, RESNET18, 256).named_parameters()}
        assert {k: v for k, v in shapes.items() if "norm" not in k} == {
            "fusion.convolutions.0.weight": (256, 256, 1, 1),
            "conv3.weight": (256, 256 + 256, 3, 3),
            "conv2.weight": (256 + 128, 128, 2, 2),  # transposed: inputs first
            "conv1.weight": (64, 128 + 64, 1, 1),
            "head.weight": (1, 64, 1, 1),
            "head.bias": (1,),
        }
        norms = {k: v for k, v in shapes.items() if "norm" in k and "weight" in k}
        assert norms == {
            "fusion.norm.weight": (256,),
            "norm3.weight": (256,),
            "norm2.weight": (128,),
            "norm1.weight": (64,),
        }

    @pytest.mark.parametrize("size", [32, 48, 96])
    @pytest.mark.parametrize("teacher", [(8, 16, 32), (24, 40, 112)])
    def test_output_at_input_resolution(self, pyramid, size, teacher):
        student = (16, 24, 48)
        decoder = Decoder(teacher, student, 16)
        maps = pyramid(teacher, size=size, dtype=torch.float32)
        found = decoder(maps, pyramid(student, size=size, dtype=torch.float32))
        assert found.shape == (2, 1, size, size)

    def test_gradient_reaches_every_parameter_and_input(self, pyramid):
        decoder = Decoder((8, 16, 32), (8, 16, 32), 16).double()
        maps, student = pyramid(requires_grad=True), pyramid(requires_grad=True, seed=1)
        decoder(maps, student).square().mean().backward()
        gradients = {name: p.grad for name, p in decoder.named_parameters()}
        gradients |= {f"input {i}": x.grad for i, x in enumerate([*maps, *student])}
        assert [k for k, g in gradients.items() if g is None or not g.any()] == []

    @pytest.mark.parametrize("training", [True, False])
    def test_without_a_cue_student_features_are_all(self, pyramid, training):
        decoder = scramble(Decoder(None, RESNET18, 256)).train(training)
        assert [name for name, _ in decoder.named_parameters() if "fusion" in name] == []
        assert decoder.conv3.weight.shape == (256, 256, 3, 3)
        student = pyramid(RESNET18, size=64)
        found = decoder([], student)
        assert found.shape == (2, 1, 64, 64)
        # A decoder with a cue that is all zero: its fused map is constant, here 0.
        led = Decoder(RESNET18, RESNET18, 256).double().train(training)
        led.load_state_dict(decoder.state_dict() | fusion_of_nothing(led, decoder))
        close(found, plain_daf.decode(led, [torch.zeros_like(f) for f in student], student))

    def test_gradient_reaches_every_parameter_without_a_cue(self, pyramid):
        decoder = Decoder(None, (8, 16, 32), 16).double()
        student = pyramid(requires_grad=True)
        decoder([], student).square().mean().backward()
        gradients = {name: p.grad for name, p in decoder.named_parameters()}
        gradients |= {f"input {i}": x.grad for i, x in enumerate(student)}
        assert [k for k, g in gradients.items() if g is None or not g.any()] == []

    def test_compilers_trace_it(self, pyramid):
        decoder = Decoder(RESNET18, RESNET18, 16).eval()
        inputs = tuple(pyramid(RESNET18, size=96, seed=k, dtype=torch.float32) for k in (0, 1))
        expected = decoder(*inputs)
        compiled = torch.compile(decoder, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*inputs), expected)
        exported = torch.export.export(decoder, inputs, strict=True).module()
        torch.testing.assert_close(exported(*inputs), expected)


class TestAuxiliaryHead:
    @pytest.mark.parametrize("training", [True, False])
    def test_equals_the_description(self, pyramid, training):
        head = scramble(AuxiliaryHead(64)).train(training)
        features = pyramid(RESNET18, size=64)[0]
        found = torch.sigmoid(head(features))
        close(found, plain_daf.auxiliary(head, features, features.shape[-2:]))

    def test_channels(self):
        shapes = [tuple(p.shape) for p in AuxiliaryHead(64).parameters() if p.dim() == 4]
        assert shapes == [(16, 64, 3, 3), (1, 16, 1, 1)]

    def test_fewer_channels_than_4(self):
        assert AuxiliaryHead(3)(torch.rand(2, 3, 8, 8)).shape == (2, 1, 8, 8)
