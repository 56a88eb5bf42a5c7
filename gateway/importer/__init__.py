"""
Connections toward a cloud, made from the configuration that it gives its customers. Pure.

Here we are the customer: `aws` and `azure` read what those clouds hand out, `foreign` is what both
come to and makes the tables of our document of it. What is read is somebody else's: it is limited,
and every value is judged.
"""
