"""Whole-case predictions of trained runs."""
