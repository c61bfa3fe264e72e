"""What the layouts that are trees of folders have in common."""

from collections.abc import Callable
from pathlib import Path

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import Finding
from daf_pipelines.sources.images import find_images


def sub_folders(folder: Path) -> list[Path]:
    """The folders in `folder`, sorted, without hidden ones; none where it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def content(folder: Path, limit: int = 10) -> str:
    """What a folder holds, in words, for messages; folders with a slash, and whether empty."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [path.name + _kind(path) for path in paths[:limit]]
    more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
    return (", ".join(names) + more) or "nothing"


def _kind(path: Path) -> str:
    if not path.is_dir():
        return ""
    try:
        return "/" if any(path.iterdir()) else "/ (empty)"
    except OSError:  # a folder that only the system reads
        return "/"


def relative(path: Path, root: Path) -> str:
    """`path` below `root`, posix."""
    return path.relative_to(root).as_posix()


def find_categories(
    root: Path, is_category: Callable[[Path], bool], layout: str
) -> dict[str, Path]:
    """Category folders by name: `root` itself, or those in it.

    Args:
        root: Folder of the dataset, or of one category.
        is_category: Whether a folder is that of a category.
        layout: What was expected, for the message: "MVTec AD's layout in {root}: `layout`".

    Raises:
        DataError: There is none.
    """
    if is_category(root):
        return {root.resolve().name: root}
    found = {folder.name: folder for folder in sub_folders(root) if is_category(folder)}
    if not found:
        raise DataError(
            f"Expected {layout} in {root}, or a folder of such folders; found {content(root)}. "
            "Correct dataset.root."
        )
    return found


def masks_by_image(folder: Path, suffix: str = "_mask") -> dict[str, Path]:
    """Mask files below `folder` by the name of the image they belong to; see :func:`image_key`."""
    if not folder.is_dir():
        return {}
    return {image_key(mask, folder, suffix): mask for mask in find_images(folder)}


def image_key(path: Path, folder: Path, suffix: str = "_mask") -> str:
    """What an image and its mask have in common: the path in their folder, less `suffix`."""
    return path.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)


def mask_without_image(mask: Path, expected: Path, root: Path) -> Finding:
    """The finding on a mask whose image is not in the folder `expected`."""
    return Finding(
        "error",
        "mask_without_image",
        relative(mask, root),
        f"a mask without its image, which was expected in {relative(expected, root)}",
        "Restore the image or remove the mask",
    )
