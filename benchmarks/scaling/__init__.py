"""What more work costs: time and memory as images, classes, tasks, inner steps and ways grow.

python -m benchmarks.scaling.scaling
"""
