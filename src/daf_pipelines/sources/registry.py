"""The known dataset layouts by name, and which one a folder has."""

from pathlib import Path

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import AUTO, DatasetParams
from daf_pipelines.sources.base import Source, require_known
from daf_pipelines.sources.btad import BTAD
from daf_pipelines.sources.dagm import DAGM
from daf_pipelines.sources.elpv import ELPV
from daf_pipelines.sources.folder import Folder
from daf_pipelines.sources.kolektor_sdd import KolektorSDD
from daf_pipelines.sources.kolektor_sdd2 import KolektorSDD2
from daf_pipelines.sources.layout import content
from daf_pipelines.sources.magnetic_tile import MagneticTile
from daf_pipelines.sources.mvtec_ad import MVTecAD
from daf_pipelines.sources.mvtec_ad_2 import MVTecAD2
from daf_pipelines.sources.mvtec_loco import MVTecLOCO
from daf_pipelines.sources.table import Table
from daf_pipelines.sources.visa import VisA

DEFAULT = ELPV()
"""The source of the images that come as a package."""

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        BTAD(),
        DAGM(),
        DEFAULT,
        KolektorSDD(),
        KolektorSDD2(),
        MagneticTile(),
        MVTecAD(),
        MVTecAD2(),
        MVTecLOCO(),
        VisA(),
        Table(),
        Folder(),
    )
}
"""Every dataset layout; the keys are the values of `dataset.source`. The plain folder is last."""


def find_source(params: DatasetParams) -> Source:
    """The source that `dataset.source` names, or the one whose layout `dataset.root` has.

    Raises:
        DataError: The folder has no known layout, or does not exist.
        ParameterError: Unknown name; the message lists the known ones and the nearest.
    """
    check_source_name(params.source)
    if params.source != AUTO:
        return SOURCES[params.source]
    if params.root is None or _is_packaged(params.root):
        return DEFAULT
    root = params.root.expanduser()
    if not root.exists():
        raise _missing(AUTO, root)
    for source in SOURCES.values():
        if source.recognises(root):
            return source
    raise DataError(
        f"dataset.root: {root} has none of the known layouts ({', '.join(SOURCES)}); found "
        f"{content(root)}. Correct dataset.root, or put pictures of good parts into {root}/good."
    )


def check_source_name(name: str) -> None:
    """Refuses an unknown value of `dataset.source`.

    Raises:
        ParameterError: The message lists the known names and the nearest.
    """
    require_known("dataset.source", name, [AUTO, *SOURCES])


def identify(params: DatasetParams) -> tuple[str | None, str | None]:
    """Names of the source and of the category; None where only absent raw data could tell.

    Raises:
        ParameterError: Unknown source, or no category is named where there are several.
    """
    try:
        source = find_source(params)
    except DataError:
        return None, params.category
    try:
        return source.name, params.category or source.default_category(_located(source, params))
    except DataError:
        return source.name, None


def unpack(params: DatasetParams) -> None:
    """Puts a source's packaged data at `dataset.root`, an absent folder of the source's name.

    Any other absent folder is a mistake, which must not end in training on other images.

    Raises:
        DataError: The package is not installed.
        ParameterError: Unknown source.
    """
    source = find_source(params)
    if params.root is not None and _is_packaged(params.root):
        source.unpack(params.root.expanduser())


def resolve_dataset(params: DatasetParams) -> Path:
    """Absolute path of what the source lists: a folder, or a file for the source "table".

    That is `dataset.root` as given, or the source's own data (ELPV: its Python package).

    Raises:
        DataError: There is none, or the source's package is not installed.
        ParameterError: Unknown source, or one that needs a root.
    """
    source = find_source(params)
    root = _located(source, params)
    if root.is_dir():
        return root.resolve()
    if root.is_file() and source.recognises(root):
        # The file itself may be a link into a cache, as DVC makes them.
        return root.parent.resolve() / root.name
    raise _missing(source.name, root)


def resolve_root(params: DatasetParams) -> Path:
    """Absolute folder that the manifest's paths are relative to: the dataset's, or its table's.

    Raises:
        DataError, ParameterError: As :func:`resolve_dataset`.
    """
    dataset = resolve_dataset(params)
    return dataset if dataset.is_dir() else dataset.parent


def _located(source: Source, params: DatasetParams) -> Path:
    return source.default_root() if params.root is None else params.root.expanduser()


def _is_packaged(root: Path) -> bool:
    """Whether `root` is where packaged images are to be unpacked: absent, with their name."""
    return root.name == DEFAULT.name and not root.expanduser().exists()


def _missing(source: str, root: Path) -> DataError:
    of_source = "" if source == AUTO else f" of source {source!r}"
    return DataError(
        f"dataset.root: expected the folder of a dataset{of_source}, but {root.absolute()} is not "
        "an existing folder. Correct dataset.root."
    )
