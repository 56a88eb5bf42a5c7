"""strongSwan's VICI protocol for our gateway: what swanctl and its exporters speak."""
