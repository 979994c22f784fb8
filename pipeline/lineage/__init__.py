"""Asks the metadata store what ran, and where things come from; neither TFX nor TensorFlow.

store = lineage.open(config)
store.live_model().ancestors()
"""

from pipeline.lineage.artifact import PUSHED_MODEL, REGISTRATION, Artifact
from pipeline.lineage.decision import Decisions, RetrainDecision
from pipeline.lineage.deployment import Deployment
from pipeline.lineage.difference import Change, Difference
from pipeline.lineage.run import Node, Run
from pipeline.lineage.store import Store, open
from pipeline.lineage.tree import reached, registration, tree

__all__ = [
    "PUSHED_MODEL",
    "REGISTRATION",
    "Artifact",
    "Change",
    "Decisions",
    "Deployment",
    "Difference",
    "Node",
    "RetrainDecision",
    "Run",
    "Store",
    "open",
    "reached",
    "registration",
    "tree",
]
