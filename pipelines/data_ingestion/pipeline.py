"""Source -> files, read once -> validated manifest -> prepared images and the dataset card."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.data_ingestion.nodes import (
    describe,
    make_manifest,
    prepare_images,
    read_images,
    summarise,
)


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                read_images,
                ["params:dataset", "params:seed", "decoded_images"],
                ["reading", "data_checks"],
                name="read_images",
            ),
            node(make_manifest, ["reading", "params:dataset"], "manifest", name="make_manifest"),
            node(
                prepare_images,
                ["manifest", "reading", "params:dataset", "params:seed"],
                ["train_images", "calibration_images", "test_images"],
                name="prepare_images",
            ),
            node(
                summarise,
                ["manifest", "reading", "data_checks", "params:dataset", "params:seed"],
                "dataset_summary",
                name="summarise_dataset",
            ),
            node(
                describe,
                [
                    "manifest",
                    "reading",
                    "data_checks",
                    "dataset_summary",
                    "params:dataset",
                    "params:seed",
                ],
                ["dataset_card", "dataset_page"],
                name="describe_dataset",
            ),
        ]
    )
