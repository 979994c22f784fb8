"""Runners: each carries the compiled pipeline to one place where it can run."""
