"""The control process: what is wanted of all gateways. The gateway process imports none of it."""
