"""MVTec AD's official layout, also for one's own data.

Bergmann et al., "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly
Detection", CVPR 2019. A category is a folder with

    train/good/*             normal images
    test/good/*              normal images
    test/<type>/*            anomalous images
    ground_truth/<type>/*    their masks, <stem>_mask.png (optional; also <stem>.png)
"""

from pathlib import Path

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.sources.base import GOOD, Listing, Row, Source, require_known
from daf_pipelines.sources.images import find_images


class MVTecAD(Source):
    """One category; the root is its folder, or the folder that holds the categories."""

    name = "mvtec_ad"

    def default_category(self, root: Path | None) -> str:
        """The only category under `root`.

        Raises:
            DataError: There is none.
            ParameterError: There are several; the message lists them.
        """
        root = root or self.default_root()
        names = sorted(_categories(root))
        if len(names) > 1:
            raise ParameterError(
                f"dataset.category is not given, and {root} holds {len(names)} categories. "
                f"Set it to one of: {', '.join(names)}."
            )
        return names[0]

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of `category`; see :meth:`Source.list_images`."""
        categories = _categories(root)
        require_known("dataset.category", category, categories)
        folder = categories[category]
        _require_train_good(folder)
        rows = [
            Row(_relative(image, root), "train", 0, GOOD, category)
            for image in find_images(folder / "train" / GOOD)
        ]
        findings = []
        for defect_type in _sub_folders(folder / "test"):
            masks = _masks(folder / "ground_truth" / defect_type.name)
            for image in find_images(defect_type):
                mask = masks.pop(_key(image, defect_type), None)
                rows.append(_test_row(image, mask, root, defect_type.name, category))
            findings += [_without_image(mask, defect_type) for mask in masks.values()]
        return Listing(rows, findings + _masks_without_type(folder))


def _categories(root: Path) -> dict[str, Path]:
    """Category folders by name: `root` itself, or those in it."""
    if _is_category(root):
        return {root.resolve().name: root}
    found = {folder.name: folder for folder in _sub_folders(root) if _is_category(folder)}
    if not found:
        raise DataError(
            f"Expected MVTec AD's layout in {root}: a category folder with train/good, or a folder "
            f"of such folders; found {_content(root)}. Correct dataset.root."
        )
    return found


def _is_category(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _require_train_good(folder: Path) -> None:
    if not (folder / "train" / GOOD).is_dir():
        raise DataError(
            f"Expected normal training images in {folder / 'train' / GOOD}, which does not exist; "
            f"{folder} holds {_content(folder)}, and its train/ holds "
            f"{_content(folder / 'train')}. Put the normal images into train/good."
        )


def _sub_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _content(folder: Path, limit: int = 10) -> str:
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "nothing"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _key(path: Path, folder: Path) -> str:
    """What an image and its mask have in common."""
    return path.relative_to(folder).with_suffix("").as_posix().removesuffix("_mask")


def _masks(folder: Path) -> dict[str, Path]:
    return {_key(mask, folder): mask for mask in find_images(folder)} if folder.is_dir() else {}


def _test_row(image: Path, mask: Path | None, root: Path, defect_type: str, category: str) -> Row:
    path = _relative(image, root)
    if defect_type == GOOD:
        return Row(path, "test", 0, GOOD, category)
    mask_path = None if mask is None else _relative(mask, root)
    return Row(path, "test", 1, defect_type, category, mask_path)


def _without_image(mask: Path, expected: Path) -> str:
    return f"{mask}: a mask without its image, which was expected in {expected}"


def _masks_without_type(folder: Path) -> list[str]:
    """Findings on masks of defect types that have no folder of images at all."""
    return [
        _without_image(mask, folder / "test" / masks.name)
        for masks in _sub_folders(folder / "ground_truth")
        if not (folder / "test" / masks.name).is_dir()
        for mask in find_images(masks)
    ]
