collect_ignore_glob = ["snippets/*"]  # read by mypy, never run
