"""The detector on synthetic outliers of other strategies: a measure that needs no real defect."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.strategy_transfer.nodes import try_strategies


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                try_strategies,
                [
                    "detector",
                    "calibration_images",
                    "train_images",
                    "params:synthesis",
                    "params:transfer",
                    "params:dataset",
                    "params:seed",
                ],
                "transfer",
                name="try_strategies",
            )
        ]
    )
