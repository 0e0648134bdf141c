"""What is compared with."""
