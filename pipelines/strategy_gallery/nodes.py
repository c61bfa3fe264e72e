"""Nodes of the strategy_gallery pipeline."""

import pandas as pd
from matplotlib.figure import Figure

from daf_pipelines.parameters import DatasetParams, SynthesisParams
from daf_pipelines.reporting.gallery import gallery_figure
from daf_pipelines.reporting.gallery_page import gallery_page
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.synthesis.configured import all_strategies
from daf_pipelines.synthesis.gallery import synthesise_gallery
from daf_pipelines.synthesis.textures import load_textures


def show_strategies(
    train_images: ImageSet, dataset: DatasetParams, synthesis: SynthesisParams, seed: int
) -> tuple[Figure, str, pd.DataFrame]:
    """Outliers of every strategy on the same normal images: a sheet, a page and a table."""
    check_dataset(train_images, dataset, seed)
    gallery = synthesise_gallery(
        train_images,
        all_strategies(synthesis),
        load_textures(synthesis.texture_root, dataset.image_size),
        seed,
        match_grey=synthesis.match_grey,
    )
    title = f"{train_images.dataset['source']} {train_images.dataset['category']}"
    chosen = {name: train_images.dataset[name] for name in ("root", "category")}
    parameters = [f"dataset.{name}={value}" for name, value in chosen.items() if value]
    page = gallery_page(gallery, title, parameters)
    return gallery_figure(gallery, title), page, gallery.statistics
