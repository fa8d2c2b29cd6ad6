"""Task-blind layers: encoders and their weights, decoders, attention between tasks; 2-D and 3-D alike."""
