"""Array kernels of technical indicators, used by rules, labels and features alike."""
