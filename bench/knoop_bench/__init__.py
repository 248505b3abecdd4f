"""The peers Knoop is measured and watched by: a private server, observers and the recorded meter.

The observers (witness, seen, tour, proxy, meter, prosody) use none of a node's code: what they see is what others see.
What measures the node (measure, report) or is its demo (stage, demo) does.
"""
