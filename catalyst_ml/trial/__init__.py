"""The trial: what both arms said of every event, what became of it, and how much of the answer the model gets."""
