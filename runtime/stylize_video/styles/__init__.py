"""Styles: what a style file is, and how it runs on a device."""
