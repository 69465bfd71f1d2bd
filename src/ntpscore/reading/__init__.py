"""The pass: token ids in, hidden states out, to whoever takes them."""
