"""fewshot: learn to classify images from a handful of examples a class."""

__version__ = "0.1.0"
