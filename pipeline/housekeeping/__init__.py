"""Keeps a pipeline's root in order: removes what nothing needs, backs up and restores the rest."""
