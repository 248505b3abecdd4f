"""The peers Knoop is measured and watched by: a private server, observers and the recorded meter.

Nothing here is part of a node or uses a node's own code: what it sees is what others see.
"""
