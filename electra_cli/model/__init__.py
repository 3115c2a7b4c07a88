"""The networks: torch only, no files, no data formats."""
