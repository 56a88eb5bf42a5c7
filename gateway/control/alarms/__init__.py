"""Alarms: what somebody must look at, raised once, told to targets, cleared when it is over."""
