"""Parameters of the methods that DAF is compared with: section ``baseline``."""

from typing import Any

from pydantic import Field

from daf_pipelines.methods import BaselineMethod
from daf_pipelines.parameters import Section


class PatchCoreParams(Section):
    """A memory bank of patches (arXiv 2106.08265)."""

    coreset: float = Field(0.1, gt=0, le=1, description="Share of the patches that is kept.")
    most_patches: int = Field(
        50_000,
        ge=1,
        description="The patches, drawn at random among those of all training images, of which "
        "the coreset is chosen; the time that takes grows with the square.",
    )


class StfpmParams(Section):
    """A student of the teacher's features on normal images (arXiv 2103.04257)."""

    steps: int = Field(170, ge=1)
    batch_size: int = Field(32, ge=1)


class DraemParams(Section):
    """A reconstruction, and a segmentation of what it changes (arXiv 2108.07610)."""

    steps: int = Field(40, ge=1, description="At 128 px seconds of processor time each.")
    batch_size: int = Field(2, ge=2)


class BaselineParams(Section):
    """Another method than DAF, and its budget; ``model.teacher`` is its teacher, too."""

    method: BaselineMethod = Field("patchcore", description="Which of the sections below counts.")
    patchcore: PatchCoreParams = PatchCoreParams()
    stfpm: StfpmParams = StfpmParams()
    draem: DraemParams = DraemParams()
    device: str = Field(
        "auto", description="'auto' (CUDA where there is one), 'cpu', 'cuda:0', ..."
    )

    def decisive(self) -> dict[str, Any]:
        """The method and its section, as plain values."""
        return self.model_dump(mode="json", include={"method", self.method})


class NetworkParams(Section):
    """What the networks of a trained baseline are built from.

    Attributes:
        method: whose networks they are.
        backbone: of the teacher; None: the method has none.
    """

    method: BaselineMethod
    backbone: str | None = None
