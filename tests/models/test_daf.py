import copy

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import plain_daf
from daf_pipelines.errors import ParameterError
from daf_pipelines.models import DAF, Backbone
from daf_pipelines.models.daf import discrepancy_map
from daf_pipelines.parameters import InputParams, ModelParams, StudentParams

OF_PUBLIC_CODE = {"input": {"channels": "bgr", "normalise": "none"}}
PAPER = {"teacher": {"backbone": "resnet18", "weights": "hub"}}


def params(teacher="test_byobnet", student="test_byobnet", weights="hub", **sections):
    return ModelParams.model_validate(
        {
            "teacher": {"backbone": teacher, "weights": weights},
            "student": {"backbone": student},
            "decoder": {"width": 16},
        }
        | sections
    )


def build(*args, seed=0, **sections):
    torch.manual_seed(seed)
    return DAF(params(*args, **sections))


def images(size=96, batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, size, size, generator=generator, dtype=dtype)


class TestForward:
    @torch.no_grad()
    def test_equals_the_equations(self):
        model = build().double().eval()
        x = images(dtype=torch.float64)
        teacher, student = model.teacher(x), model.student(x)
        maps, probability = plain_daf.outputs(model.decoder, teacher, student)
        expected = sum(
            F.interpolate(m.mean(dim=1, keepdim=True), size=(96, 96), mode="nearest") for m in maps
        )
        found = model(x)
        torch.testing.assert_close(found[0], expected, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(found[1], probability, atol=1e-8, rtol=1e-8)

    @pytest.mark.parametrize(
        ("teacher", "student"),
        [("test_byobnet", "test_resnet"), ("tf_efficientnet_lite0", "test_mambaout")],
    )
    def test_student_of_another_backbone(self, teacher, student):
        model = build(teacher, student).eval()
        with torch.no_grad():
            discrepancy, probability = model(images())
            study = model.student_features(images())
        assert [f.shape[1] for f in study.projected] == model.teacher.channels
        assert [f.shape[1] for f in study.features] == model.student.channels
        assert discrepancy.shape == probability.shape == (2, 1, 96, 96)
        assert 0 <= probability.min() < probability.max() <= 1
        assert discrepancy.min() >= 0

    def test_projection_is_a_1x1_convolution_where_channels_differ(self):
        model = build("test_byobnet", "test_resnet")  # 32, 64, 128 and 32, 48, 192 channels
        shapes = [[tuple(p.shape) for p in m.parameters()] for m in model.projections]
        assert shapes == [[], [(64, 48, 1, 1), (64,)], [(128, 192, 1, 1), (128,)]]

    def test_without_a_cue_the_discrepancy_is_scored_all_the_same(self):
        model, led = build(decoder={"width": 16, "cue": "none"}).eval(), build().eval()
        led.student.load_state_dict(model.student.state_dict())
        led.teacher.load_state_dict(model.teacher.state_dict())
        with torch.no_grad():
            (discrepancy, probability), (expected, _) = model(images()), led(images())
            student = model.student_features(images())
            assert torch.equal(discrepancy, expected)
            assert torch.equal(probability, torch.sigmoid(model.segment([], student)))

    @pytest.mark.parametrize(
        ("discrepancy", "inputs"),
        [
            ({"structure": "none"}, [1]),
            ({"structure": "ssim", "cosine": False}, [128]),
            ({"structure": "squared", "cosine": False}, [128]),
        ],
    )
    def test_one_term_of_the_discrepancy(self, discrepancy, inputs):
        model = build(discrepancy=discrepancy).train()
        assert [c.in_channels for c in model.decoder.fusion.convolutions] == inputs
        found, probability = model(images())
        assert found.shape == probability.shape == (2, 1, 96, 96)
        found.mean().backward(retain_graph=True)
        of_student = [p.grad for p in model.student.parameters()]
        assert any(g is not None and g.any() for g in of_student)
        probability.mean().backward()
        assert all(p.grad.any() for p in model.decoder.parameters())

    def test_squared_form_takes_small_images(self):
        model = build(discrepancy={"structure": "squared"}).eval()
        with torch.no_grad():
            assert model(images(32))[0].shape == (2, 1, 32, 32)

    def test_ssim_form_needs_96_pixels(self):
        with pytest.raises(ParameterError, match=r"dataset\.image_size to 96"):
            build().eval()(images(80))

    def test_student_equal_to_the_teacher_leaves_no_discrepancy(self):
        model = build().eval()
        model.student = copy.deepcopy(model.teacher)
        with torch.no_grad():
            discrepancy, _ = model(images())
        torch.testing.assert_close(discrepancy, torch.zeros_like(discrepancy), atol=1e-4, rtol=0)


class TestTeacher:
    def test_frozen_and_in_evaluation_mode_whatever_the_model_is(self):
        model = build()
        before = copy.deepcopy(model.teacher.state_dict())
        for set_mode in (lambda: None, model.train, model.eval, model.train):
            set_mode()
            assert not any(m.training for m in model.teacher.modules())
            features = model.teacher_features(images())
            assert not any(f.requires_grad for level in features for f in level.tensors())
        assert not any(p.requires_grad for p in model.teacher.parameters())
        assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())

    def test_everything_else_follows_the_mode(self):
        model = build().train()
        others = [model.student, model.decoder, model.heads, model.projections]
        assert all(m.training for other in others for m in other.modules())
        model.eval()
        assert not any(m.training for other in others for m in other.modules())

    def test_its_view_is_normalised_when_asked(self):
        model = build(discrepancy={"normalise": "channel"})
        raw = model.teacher(images())
        means = [f.mean(dim=(0, 2, 3)) for f in raw]
        model.discrepancy.fit_normalisation(means, [torch.full_like(m, 2.0) for m in means])
        for found, f, mean in zip(model.teacher_features(images()), raw, means, strict=True):
            torch.testing.assert_close(found.features, (f - mean[:, None, None]) / 2)


class TestPaper:
    """ResNet-18 to the letter."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return DAF(ModelParams.model_validate(PAPER | {"student": {"backbone": "resnet18"}}))

    def test_channels(self, model):
        assert model.teacher.channels == model.student.channels == [64, 128, 256]
        assert list(model.projections.parameters()) == []
        assert [h.layers[0].weight.shape for h in model.heads] == [
            (16, 64, 3, 3),
            (32, 128, 3, 3),
            (64, 256, 3, 3),
        ]
        decoder = model.decoder
        assert decoder.fusion.tiles == [4, 2, 1]
        assert [n.num_features for n in (decoder.fusion.norm, decoder.norm3)] == [256, 256]
        assert [n.num_features for n in (decoder.norm2, decoder.norm1)] == [128, 64]
        assert decoder.head.weight.shape == (1, 64, 1, 1)

    def test_student_starts_at_random(self, model):
        pairs = zip(model.student.parameters(), model.teacher.parameters(), strict=True)
        assert not all(torch.equal(s, t) for s, t in pairs)


class TestPreparation:
    def test_of_both_networks_by_default_as_the_weights_were_trained(self):
        model = build()
        assert model.teacher.preparation == model.student.preparation == InputParams()
        assert InputParams() == InputParams(channels="rgb", normalise="backbone")

    def test_of_both_networks_as_asked_pretrained_or_not(self, tmp_path):
        file = tmp_path / "teacher.safetensors"
        save_file(timm.create_model("test_byobnet").state_dict(), file)
        asked = params(**OF_PUBLIC_CODE, weights=str(file))
        for model in (DAF(asked), DAF.pretrained(asked)):
            assert model.teacher.preparation == model.student.preparation == asked.input

    @torch.no_grad()
    def test_bgr_without_normalisation_is_what_swapped_statistics_undo(self):
        model, plain = build().eval(), build(**OF_PUBLIC_CODE).eval()
        plain.load_state_dict(model.state_dict())
        mean, std = model.teacher.mean, model.teacher.std
        swapped = ((images() - mean) / std).flip(1)
        for found, expected in zip(plain(swapped), model(images()), strict=True):
            torch.testing.assert_close(found, expected)


class TestHeads:
    def test_one_a_level(self):
        model = build()
        study = model.student_features(images())
        assert [h.shape for h in model.auxiliary(study)] == [(2, 1, s, s) for s in (24, 12, 6)]

    def test_none(self):
        model = build(auxiliary_heads=False)
        assert model.auxiliary(model.student_features(images())) == []
        assert list(model.heads.parameters()) == []


class TestDiscrepancyMap:
    def test_by_hand(self):
        first = torch.zeros(1, 2, 4, 4)
        first[0, :, 1, 2] = torch.tensor([1.0, 3.0])
        second = torch.zeros(1, 4, 2, 2)
        second[0, 0, 0, 1] = 4
        third = torch.full((1, 8, 1, 1), 10.0)
        expected = torch.full((16, 16), 10.0)
        expected[4:8, 8:12] += 2
        expected[0:8, 8:16] += 1
        assert torch.equal(discrepancy_map([first, second, third])[0, 0], expected)


class TestPretrained:
    @pytest.fixture
    def file(self, tmp_path):
        torch.manual_seed(3)
        save_file(timm.create_model("test_byobnet").state_dict(), tmp_path / "w.safetensors")
        return str(tmp_path / "w.safetensors")

    def made(self, file, weights, seed, **sections):
        student = StudentParams(backbone="test_byobnet", weights=weights)
        asked = params(weights=file, **sections).model_copy(update={"student": student})
        torch.manual_seed(seed)
        return DAF.pretrained(asked)

    def test_a_student_of_no_weights_is_drawn_as_ever(self, file):
        # Teacher, student, projections, decoder, heads: in this order.
        torch.manual_seed(0)
        expected = DAF(params(), Backbone("test_byobnet", load_file(file))).state_dict()
        found = self.made(file, "none", 0).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())

    def test_a_student_of_weights_starts_from_them_the_rest_from_the_seed(self, file):
        first, other = (self.made(file, file, seed) for seed in (0, 1))
        for name, value in first.student.state_dict().items():
            assert torch.equal(value, other.student.state_dict()[name])
            assert torch.equal(value, first.teacher.state_dict()[name])
        assert all(p.requires_grad for p in first.student.parameters())
        assert not torch.equal(first.decoder.conv3.weight, other.decoder.conv3.weight)

    def test_input_is_prepared_as_for_the_teacher(self, file):
        model = self.made(file, file, 0, **OF_PUBLIC_CODE)
        assert model.student.preparation == InputParams(channels="bgr", normalise="none")


def test_given_teacher_is_used():
    torch.manual_seed(0)
    teacher = Backbone("test_byobnet")
    model = DAF(params(), teacher)
    assert model.teacher is teacher
