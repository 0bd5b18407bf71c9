"""The stages that turn a dataset's name into files: download (of an own folder: collect), pack, split.

DVC calls them one by one; each is a module of its own, so that it depends on the code that makes its bytes alone.
"""
