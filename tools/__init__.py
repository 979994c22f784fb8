"""The set-up: what `make` calls; Python's standard library alone."""
