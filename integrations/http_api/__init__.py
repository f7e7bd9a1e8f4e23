"""The submission API: JSON over HTTP in, jobs and readings out. It never imports torch."""
