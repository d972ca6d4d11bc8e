"""The commands that ship with the engine, one module for each or for a few that belong together."""
