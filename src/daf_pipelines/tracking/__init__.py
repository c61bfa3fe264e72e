"""MLflow: one run an experiment, and the registered model."""
