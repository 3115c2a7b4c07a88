"""What the machine offers: devices, precision, memory allocator, signals, random numbers."""
