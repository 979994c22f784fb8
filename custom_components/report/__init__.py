"""Writes the page of a run once it has decided: `component` for the definition."""
