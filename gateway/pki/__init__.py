"""
X.509 certificates and signatures as IKE uses them (RFC 4945, RFC 5280, RFC 7427). Pure.

Nothing here fetches anything or reads a clock: certificates, CRLs and OCSP answers come in as bytes
and the time as a number of seconds since 1970.
"""
