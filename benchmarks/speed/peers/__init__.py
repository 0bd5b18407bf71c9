"""The other libraries, one a file: each does the race's work as its own examples and documentation show it."""
