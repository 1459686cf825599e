"""Members, ensemble, calibration, the walk-forward record, ONNX export and parity."""
