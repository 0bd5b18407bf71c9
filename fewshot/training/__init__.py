"""Meta-training: the loop, one update of the outer loop, checkpoints."""
