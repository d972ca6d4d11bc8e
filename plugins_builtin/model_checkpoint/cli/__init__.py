"""The command ``mce``: what is stored, checked, compared and configured, from a shell. Every command is a plugin's."""
