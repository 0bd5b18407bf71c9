"""Layers that compute many networks at once and differentiate twice fast. Read last."""
