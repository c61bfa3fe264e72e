"""The DAG: one Kedro pipeline a folder."""
