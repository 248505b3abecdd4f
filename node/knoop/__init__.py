"""The agent: people, network and store. Knows no gpiozero and no pyserial."""

__version__ = "0.1.0"
