"""What Prometheus is told of the control process."""
