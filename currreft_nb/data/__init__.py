"""From annotations to a checked data folder: formats, sources, splits, pictures, drawn scenes."""
