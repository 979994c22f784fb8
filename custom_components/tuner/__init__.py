"""Searches for hyper-parameters: `component` for the pipeline's definition.

Nothing is imported here. Whoever shows a result needs `models.tuning.result` alone.
"""
