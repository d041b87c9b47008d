"""What a run would take, without doing it."""
