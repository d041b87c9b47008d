"""Pictures of a table of hard pairs and of what came of it, drawn by matplotlib."""
