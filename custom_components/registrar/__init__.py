"""Tells MLflow of a run's trainings and its champion: `component` for the definition.

`gather` writes down what there is to tell (`record`), `tell` tells it, once or when asked again.
"""
