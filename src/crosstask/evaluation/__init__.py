"""Methods x seeds to scores, and the comparison with intervals."""
