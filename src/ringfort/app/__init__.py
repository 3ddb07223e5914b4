"""Floor 5: the command line and recipes. The only place where names become objects."""
