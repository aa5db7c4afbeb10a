"""How the embedded pocket model is made; no notebook needs it."""
