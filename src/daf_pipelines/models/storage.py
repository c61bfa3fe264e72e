"""Models on disk: a folder with ``model.safetensors`` and ``config.json``, written atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from daf_pipelines.atomic import written_whole
from daf_pipelines.errors import DataError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_folder(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Replace ``folder`` by one with these weights and this configuration, in one step."""
    with written_whole(folder) as partial:
        save_file({k: v.cpu().contiguous() for k, v in weights.items()}, partial / WEIGHTS)
        text = json.dumps(config, indent=2, sort_keys=True)
        (partial / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and configuration of a saved model.

    Raises:
        DataError: the folder is missing or incomplete.
    """
    missing = [name for name in (WEIGHTS, CONFIG) if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} holds no trained model: {' and '.join(missing)} not found. Run the "
            "training pipelines first: kedro run."
        )
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return load_file(folder / WEIGHTS), config
