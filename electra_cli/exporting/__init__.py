"""Our weights in the ecosystem's formats, and the proof that they still say the same."""
