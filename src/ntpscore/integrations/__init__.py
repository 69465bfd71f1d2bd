"""ntpscore within others' tools, one file for each; what a tool needs loads with its file."""
