"""The project's folders, the environment of its tools, what makes a step stale, and where a result comes from."""
