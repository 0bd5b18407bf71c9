"""Predictions on episodes, accuracies with their intervals, calibration, figures."""
