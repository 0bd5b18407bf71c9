"""All that knows MLflow: its store, runs, curves, model versions."""
