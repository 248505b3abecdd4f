"""The hardware half: everything that touches a line, a bus or a port. Knows no XMPP."""

__version__ = "0.1.0"
