"""The warm daemon: a broker that keeps a process with everything imported, and forks one from it for each job."""
