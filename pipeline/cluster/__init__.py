"""What runs elsewhere: packages and servers of Kubeflow and Vertex, and their containers."""
