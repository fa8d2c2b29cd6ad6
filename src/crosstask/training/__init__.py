"""The step, the schedule, checkpoints and resume."""
