"""How the SD-card image comes about; runs on a Debian machine, never on a node."""
