"""The XMPP side: the only place that imports slixmpp."""
