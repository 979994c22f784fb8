"""The report of a run: one page that says what was decided, and why."""
