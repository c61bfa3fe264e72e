"""PatchCore, STFPM or DRAEM, in the place of both phases of DAF."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.baseline_training.nodes import train


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                train,
                [
                    "train_images",
                    "textures",
                    "train_foregrounds",
                    "synthesis_record",
                    "params:dataset",
                    "params:synthesis",
                    "params:model",
                    "params:baseline",
                    "params:seed",
                ],
                ["trained_model", "baseline_history"],
                name="train_baseline",
            ),
        ]
    )
