"""The GPU path, checked and timed by one script; see check.sh."""
