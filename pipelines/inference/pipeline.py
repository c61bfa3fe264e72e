"""New images: a table of scores and labels, and a heatmap each."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.inference.nodes import predict


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                predict,
                ["detector", "params:inference", "inference_folder"],
                "predictions",
                name="predict",
            )
        ]
    )
