"""The catalogue (one declaration per feature), the engine that computes it, and the training set."""
