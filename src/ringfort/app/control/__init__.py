"""The control room: a local web page over a run's folder. It reads what is committed and writes only decisions."""
