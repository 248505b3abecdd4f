"""What devices on a serial port say, from bytes to values and back. Pure."""
