"""What scores say of outcomes, and how sure that is."""
