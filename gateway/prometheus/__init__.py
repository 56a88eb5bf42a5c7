"""What Prometheus reads: its text format, and the place that it asks. For node and control."""
