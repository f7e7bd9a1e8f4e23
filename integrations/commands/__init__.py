"""The subcommands of `pathlane`, by who needs them: whoever asks (jobs), runs (fleet) or keeps it (admin)."""
