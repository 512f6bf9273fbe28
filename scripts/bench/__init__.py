"""The benchmark beside other systems."""
