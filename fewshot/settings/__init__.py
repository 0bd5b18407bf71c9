"""Every setting with its range and unit, and the presets that combine them."""
