"""DVC, called through its command line."""
