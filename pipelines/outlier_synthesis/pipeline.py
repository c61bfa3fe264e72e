"""The configured strategy: textures, objects, a preview, mask statistics, a validation set."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.outlier_synthesis.nodes import (
    describe_outliers,
    find_objects,
    load_texture_bank,
    synthesise_validation,
)


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                load_texture_bank,
                ["params:synthesis", "params:dataset"],
                "textures",
                name="load_texture_bank",
            ),
            node(
                find_objects,
                [
                    "train_images",
                    "calibration_images",
                    "params:dataset",
                    "params:synthesis",
                    "params:seed",
                ],
                ["train_foregrounds", "calibration_foregrounds", "foreground_figure"],
                name="find_objects",
            ),
            node(
                synthesise_validation,
                [
                    "calibration_images",
                    "train_images",
                    "textures",
                    "train_foregrounds",
                    "calibration_foregrounds",
                    "params:synthesis",
                    "params:seed",
                ],
                "synthetic_validation",
                name="synthesise_validation",
            ),
            node(
                describe_outliers,
                ["synthetic_validation", "calibration_images", "params:synthesis"],
                [
                    "mask_statistics",
                    "mask_statistics_figure",
                    "synthesis_preview",
                    "synthesis_record",
                ],
                name="describe_outliers",
            ),
        ]
    )
