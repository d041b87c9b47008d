"""The viewer: a web app on this machine that shows the cards of a table and takes verdicts."""
