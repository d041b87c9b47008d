"""What people leave with: a table of hard pairs in the formats of other tools."""
