"""The networks of anomalib's methods, with the project's teacher in them."""

from anomalib.models.image.draem.torch_model import DraemModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.models.image.stfpm.anomaly_map import AnomalyMapGenerator
from torch import Tensor, nn

from daf_pipelines.baselines.parameters import NetworkParams
from daf_pipelines.models.backbones import STRIDES, Backbone
from daf_pipelines.models.network import Baseline

LEVELS = tuple(f"stride {stride}" for stride in STRIDES)
Features = dict[str, Tensor]


class PatchCore(Baseline):
    """Distances to a memory bank of normal patches, at strides 8 and 16 (arXiv 2106.08265).

    Args:
        params: what it is built from.
        teacher: whose features make the patches.
    """

    def __init__(self, params: NetworkParams, teacher: Backbone) -> None:
        super().__init__(params)
        self.model = PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False)
        self.model.feature_extractor = _Extractor(teacher)
        self.model.layers = LEVELS[1:]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The distances, and the largest of each image, weighted by how the bank lies around."""
        found = self.model(images)
        return found.anomaly_map, found.pred_score

    def patches(self, images: Tensor) -> Tensor:
        """The patches of some images ``(B, 3, H, W)``: ``(B * H/8 * W/8, channels)``."""
        found: Tensor = self.model.train()(images)
        self.model.embedding_store.clear()
        return found

    def remember(self, bank: Tensor) -> None:
        """Make these patches ``(P, channels)`` the memory bank."""
        self.model.memory_bank = bank


class Stfpm(Baseline):
    """How far a student is from its teacher's features on three levels (arXiv 2103.04257).

    anomalib's own class asks a hub for the teacher's weights.

    Args:
        params: what it is built from.
        teacher: of the student, frozen.
        student: an untrained network of the teacher's kind.
    """

    def __init__(self, params: NetworkParams, teacher: Backbone, student: Backbone) -> None:
        super().__init__(params)
        self.teacher = teacher.requires_grad_(False).eval()
        self.student = student
        self.anomaly_map = AnomalyMapGenerator()

    def train(self, mode: bool = True) -> "Stfpm":
        """Set training mode; the teacher stays as it is: frozen."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The product of the levels' distances, and its maximum in each image."""
        maps: Tensor = self.anomaly_map(
            teacher_features=by_level(self.teacher, images),
            student_features=by_level(self.student, images),
            image_size=images.shape[-2:],
        )
        return maps, maps.amax(dim=(1, 2, 3))


class Draem(Baseline):
    """A reconstruction, and a segmentation of what it changed (arXiv 2108.07610)."""

    def __init__(self, params: NetworkParams) -> None:
        super().__init__(params)
        self.model = DraemModel()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The probability of an anomaly, and its maximum in each image."""
        found = self.model(images)
        return found.anomaly_map.unsqueeze(1), found.pred_score


def build(params: NetworkParams, teacher: Backbone | None = None) -> Baseline:
    """The networks of a method.

    Args:
        params: which, and with which backbone.
        teacher: the pretrained teacher; ``None`` builds one without weights, for a state
            dictionary to fill.
    """
    if params.backbone is None:
        return Draem(params)
    teacher = teacher or Backbone(params.backbone)
    if params.method == "patchcore":
        return PatchCore(params, teacher)
    return Stfpm(params, teacher, Backbone(params.backbone))


def by_level(backbone: Backbone, images: Tensor) -> Features:
    """A backbone's features as anomalib has them."""
    return dict(zip(LEVELS, backbone(images), strict=True))


class _Extractor(nn.Module):
    """A frozen backbone in the place of anomalib's."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()

    def train(self, _: bool = True) -> "_Extractor":
        """It stays in evaluation mode."""
        return self

    def forward(self, images: Tensor) -> Features:
        """Features of images in [0, 1]."""
        return by_level(self.backbone, images)
