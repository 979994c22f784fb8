"""The search for hyper-parameters: `search.tune` is the way in, `result` what it gives.

Nothing heavy is imported here, so that a pipeline can be defined, and a result read, without it.
"""

from models.tuning.space import SPACES

__all__ = ["SPACES"]
