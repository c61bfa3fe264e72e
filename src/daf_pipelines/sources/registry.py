"""The known dataset layouts by name."""

from pathlib import Path

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.base import Source, require_known
from daf_pipelines.sources.elpv import ELPV
from daf_pipelines.sources.mvtec_ad import MVTecAD

SOURCES: dict[str, Source] = {source.name: source for source in (ELPV(), MVTecAD())}
"""Every dataset layout; the keys are the values of `dataset.source`."""


def find_source(name: str) -> Source:
    """Looks up the source `name`.

    Raises:
        ParameterError: Unknown name; the message lists the known ones and the nearest.
    """
    require_known("dataset.source", name, SOURCES)
    return SOURCES[name]


def unpack(params: DatasetParams) -> None:
    """Puts a source's packaged data at `dataset.root` where that folder does not exist yet.

    Raises:
        DataError: The package is not installed.
        ParameterError: Unknown source.
    """
    source = find_source(params.source)
    if params.root is not None and not params.root.expanduser().exists():
        source.unpack(params.root.expanduser())


def resolve_root(params: DatasetParams) -> Path:
    """Absolute folder that the manifest's paths are relative to.

    That is `dataset.root` as given, or the source's own data (ELPV: its Python package).

    Raises:
        DataError: No such folder, or the source's package is not installed.
        ParameterError: Unknown source, or one that needs a root.
    """
    source = find_source(params.source)
    root = source.default_root() if params.root is None else params.root.expanduser()
    if not root.is_dir():
        raise DataError(
            f"dataset.root: expected the folder of a dataset of source {params.source!r}, but "
            f"{root.absolute()} is not an existing folder. Correct dataset.root."
        )
    return root.resolve()
