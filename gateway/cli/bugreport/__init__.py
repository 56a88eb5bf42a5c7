"""
`twinspan bugreport`: one archive with what is needed to find a fault, and no secret in it.

`members` gathers, `redact` takes secrets out by what they look like and by their very values, in
every encoding, and `archive` writes.
"""
