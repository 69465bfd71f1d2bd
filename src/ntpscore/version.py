"""The version, where packaging and results both read it, installed or not."""

VERSION = "0.2.0"
