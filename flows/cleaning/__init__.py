"""Removing what no alias, no lineage and no unfinished work needs any more: one file for each kind of place."""
