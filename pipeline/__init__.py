"""The pipeline: what it is, how it is configured, and how one is run."""

from pipeline import lazy

lazy.install()
