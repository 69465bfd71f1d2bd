"""What scores say of outcomes over many models and data sets."""
