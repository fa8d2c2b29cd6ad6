"""From an experiment to runs, scores, comparison and predictions: the steps that commands and the Python API share."""
