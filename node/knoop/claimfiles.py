"""What the files of a claim are called: the node writes them, a setup from the card shows them and hands them on. Pure.

A module of its own: each start of Knoop's own image waits for what a setup loads.
"""

TEXT, PICTURE = "claim.txt", "claim.png"  # the code, beside the node's databases; the picture on the card as well
BY_CARD = "knoop-claim.txt"  # the other way round: a file on the card that names an owner
HANDED_ON = "run/knoop-setup"  # where the agent reads that one if only root may read the card
