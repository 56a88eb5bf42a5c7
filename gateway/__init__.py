"""Twinspan: a site-to-site IPsec VPN gateway with twin tunnels per connection."""

__version__ = "0.1.0"
