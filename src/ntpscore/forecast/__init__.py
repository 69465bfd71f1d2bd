"""What LoRA would gain, and from what evidence."""
