"""What every network is made of: MLPs, rotary positions and sequence mixers."""
