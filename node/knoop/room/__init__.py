"""A room with many nodes: what is for us, who speaks for whom, and how often. docs/adr/0011 is the plan."""
