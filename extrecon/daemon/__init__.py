"""The warm daemon: one process with everything imported, which forks a runner for each job."""
