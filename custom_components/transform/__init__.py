"""TFX's Transform, which analyses and transforms in this process where Beam would run here too."""

from custom_components.transform.component import Transform

__all__ = ["Transform"]
