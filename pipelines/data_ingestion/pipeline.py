"""Source -> validated manifest -> prepared images."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.data_ingestion.nodes import make_manifest, prepare_images, summarise


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                make_manifest,
                ["params:dataset", "params:seed"],
                "manifest",
                name="make_manifest",
            ),
            node(
                prepare_images,
                ["manifest", "params:dataset", "params:seed"],
                ["train_images", "calibration_images", "test_images"],
                name="prepare_images",
            ),
            node(
                summarise,
                ["manifest", "params:dataset"],
                "dataset_summary",
                name="summarise_dataset",
            ),
        ]
    )
