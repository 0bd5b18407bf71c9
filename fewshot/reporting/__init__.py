"""The report card of a model: what it can do and what it can't, on one page that needs nothing from the net."""
