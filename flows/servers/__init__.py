"""MLflow's and Prefect's servers, and a worker, under one supervisor."""
