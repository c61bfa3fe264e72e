"""The configured strategy: textures, a preview, mask statistics, a fixed validation set."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.outlier_synthesis.nodes import (
    describe_outliers,
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
                synthesise_validation,
                [
                    "calibration_images",
                    "textures",
                    "params:dataset",
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
