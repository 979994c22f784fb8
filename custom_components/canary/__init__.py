"""Tries a model as a server would: `component` for the definition, `report` for its readers.

Nothing is imported here, so that the probe's process loads the model with TensorFlow alone.
"""
