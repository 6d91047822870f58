"""Run folders: configuration, checkpoints, metrics, trackers. Nothing here knows what is trained."""
