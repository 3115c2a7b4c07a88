"""One module for each thing that a text file can hold: decoded lines become documents."""
