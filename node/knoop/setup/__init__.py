"""What Knoop's own image makes of the one file on its card: configuration, network, credential, buses."""
