"""
`twinspan doctor`: what of this machine keeps a gateway from doing its work, and how it is mended.

`look` gathers facts with the rights of whoever runs the command, `judge` makes findings of them and
touches nothing; `facts` has the values between the two.
"""
