"""Networks between the training phases, with the facts that decide what they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from daf_pipelines.errors import StaleArtifactError
from daf_pipelines.models.network import Network, load_network
from daf_pipelines.models.storage import load_folder, save_folder

N = TypeVar("N", bound=Network)


@dataclass(frozen=True)
class TrainedModel(Generic[N]):
    """A model and how it came about.

    Attributes:
        model: the networks.
        identity: everything that decided the weights so far: dataset, strategy, seed, parameters.
        train_seconds: time spent training so far.
        peak_rss_mib: largest memory of the processes that trained it.
    """

    model: N
    identity: dict[str, Any]
    train_seconds: float
    peak_rss_mib: float

    def save(self, folder: Path) -> None:
        """Replace ``folder`` in one step."""
        config = {
            "model": self.model.params.model_dump(mode="json"),
            "identity": self.identity,
            "train_seconds": self.train_seconds,
            "peak_rss_mib": self.peak_rss_mib,
        }
        save_folder(folder, self.model.state_dict(), config)

    @classmethod
    def load(cls, folder: Path) -> "TrainedModel[Any]":
        """Read what :meth:`save` wrote; needs no pretrained weights."""
        weights, config = load_folder(folder)
        model: Any = load_network(config.pop("model"), weights)
        return cls(model, **config)


def check_identity(found: dict[str, Any], wanted: dict[str, Any], what: str, remedy: str) -> None:
    """Refuse a persisted artifact of another experiment.

    Raises:
        StaleArtifactError: a value in ``wanted`` differs from the one in ``found``.
    """
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        details = "; ".join(f"{k}: {found.get(k)} there, {wanted[k]} asked for" for k in differing)
        raise StaleArtifactError(
            f"{what} comes from another experiment ({details}). {remedy} with the same --params."
        )
