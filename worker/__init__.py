"""Everything needed to read one case on a GPU."""

__version__ = "0.1.0"
