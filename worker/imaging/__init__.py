"""Imaging: a reference becomes pixels the model may see. The door is `worker.imaging.source`."""
