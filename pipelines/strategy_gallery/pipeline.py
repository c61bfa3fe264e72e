"""All strategies on the same few normal images, to choose one by looking."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.strategy_gallery.nodes import show_strategies


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                show_strategies,
                ["train_images", "params:dataset", "params:synthesis", "params:seed"],
                ["strategy_gallery", "strategy_gallery_page", "strategy_statistics"],
                name="show_strategies",
            ),
        ]
    )
