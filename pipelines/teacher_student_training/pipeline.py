"""First training phase: the student, on synthetic outliers."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.teacher_student_training.nodes import train


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
                    "checkpoints",
                    "params:dataset",
                    "params:synthesis",
                    "params:model",
                    "params:teacher_student_training",
                    "params:seed",
                ],
                ["student", "student_history"],
                name="train_student",
            ),
        ]
    )
