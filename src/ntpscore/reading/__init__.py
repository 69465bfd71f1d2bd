"""The pass: token ids in, hidden states out, to whoever takes them."""

# Tokens per batch, padding included: enough to fill matrix products, few enough that what blocks
# hand on stays near the processor.
BATCH_TOKENS = 2048
