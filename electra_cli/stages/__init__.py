"""What the commands do: a settings model and a `run()` each; no terminal, no exit."""
