"""
Configurations for the customer's end of a VPN Connection, made from the wanted document. Pure.

`sheet` mirrors a connection: every value as the customer's device has it. A module of `devices`
puts a sheet into the words of one kind of device; `catalog` lists them.
"""
