"""IKEv2 (RFC 7296) without input or output: bytes, values and a time go in, events come out."""
