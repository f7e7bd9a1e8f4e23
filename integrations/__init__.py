"""How other systems ask and are told."""
