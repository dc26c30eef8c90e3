"""The C++ core on NumPy arrays, and on anything else whose memory it can read."""
