"""
`twinspan capture`: a tunnel's packets, outer and inner, in one file for Wireshark.

`taps` reads from the kernel, `frames` takes apart what its offloads have put together, `pcapng`
writes, `wireshark` writes keys beside it, `session` does it all.
"""
