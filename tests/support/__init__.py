"""What tests share: typed, and imported by its name."""
