"""The real command on real git, with real processes and signals."""
