"""The live model behind HTTP: by a server of this project's own, by MLflow's, or TensorFlow's."""
