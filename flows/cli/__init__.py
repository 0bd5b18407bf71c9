"""The `fewshot` command: the library's commands and those that need the pipeline."""
