"""Back ends of the engine: each implements the `Reasoner` protocol for one way of running a model."""
