"""Second training phase: the decoder."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.decoder_training.nodes import train


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                train,
                [
                    "student",
                    "train_images",
                    "textures",
                    "train_foregrounds",
                    "synthesis_record",
                    "checkpoints",
                    "params:dataset",
                    "params:synthesis",
                    "params:model",
                    "params:teacher_student_training",
                    "params:decoder_training",
                    "params:seed",
                ],
                ["trained_model", "decoder_history"],
                name="train_decoder",
            ),
        ]
    )
