"""How a pipeline that retrains by itself is doing, as a page, as CSV and for Prometheus."""
