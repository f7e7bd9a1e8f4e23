"""The demonstration: real and drawn pictures in, verified webhooks and right answers out."""
