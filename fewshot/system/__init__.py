"""Device, files, progress, download, signals, processes: nothing here knows what a class or an episode is."""
