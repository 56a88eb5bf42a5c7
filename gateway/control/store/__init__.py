"""
Where the control plane keeps its objects: one interface (`interface.py`) with two drivers.

`sqlite.py` is one file on one machine. `etcd.py` is a cluster that several control processes share.
One suite of tests holds both to the same meaning.
"""
