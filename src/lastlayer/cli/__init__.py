"""The ``lastlayer`` command: one file a subcommand; `main` chooses among them."""
