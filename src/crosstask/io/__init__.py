"""Bytes to arrays with geometry, and back."""
