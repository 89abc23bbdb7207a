"""Speed, measured in one run on one machine: the encoder apart from everything around it."""
