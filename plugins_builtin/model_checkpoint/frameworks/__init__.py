"""Captures and restores the objects of torch, of numpy, and of anything that has a ``state_dict()``."""
