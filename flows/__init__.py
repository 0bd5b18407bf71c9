"""Prefect flows around the library: order, retries, cache keys, schedules."""
