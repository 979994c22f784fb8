"""Components of our own, in each of the styles that TFX has for writing them."""

from importlib import import_module

ARTIFACTS = ("GateReport", "ModelSelection", "Registration", "Report")
"""The artifact types of our own."""


def __getattr__(name: str) -> object:
    # On Vertex TFX imports an artifact's type from here: its paths have one module.
    if name in ARTIFACTS:
        return getattr(import_module(f"{__name__}.artifacts"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
