"""The terminal: parse, call a stage, show, map errors. Typer and rich live here and nowhere else."""
