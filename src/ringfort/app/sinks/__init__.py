"""Where a run's numbers go, so that other tools draw them. Each module needs the extra of its name."""
