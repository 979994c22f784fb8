"""The registered models: what there is, what is live, and how another one goes live.

`commands` is the command line, `versions` what MLflow knows, `live` how a version goes live and
`waiting` what MLflow was not told yet. None of them imports TFX or TensorFlow.
"""
