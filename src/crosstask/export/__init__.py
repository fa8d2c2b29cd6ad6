"""Predictions to files that others can open."""
