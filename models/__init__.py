"""What a model is: its columns, its preprocessing, its training, and how it is asked."""
