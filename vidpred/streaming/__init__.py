"""Streams: forecasts of what a camera, a pipe or a playing file shows next, while it goes on."""
