"""What runs the product on one machine, and what stands for clouds there."""
