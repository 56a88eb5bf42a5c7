"""What flows through two gateways while `throughput` measures them, and how that is counted."""
