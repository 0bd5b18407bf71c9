"""The race: our meta-training, evaluation and use beside the libraries people take for them, on one machine in one run.

python -m benchmarks.speed.race
"""
