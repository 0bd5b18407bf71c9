"""From archives on disk to episodes: sources, packs, splits and the drawing of episodes."""
