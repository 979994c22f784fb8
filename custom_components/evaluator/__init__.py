"""Judges models: `component` for the pipeline's definition, `verdict` for whoever reads the result.

Nothing is imported here, so that `custom_components.evaluator.verdict` stays light.
"""
