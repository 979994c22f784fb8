"""From a table to a configuration: `python -m pipeline init`."""
