"""The pass: token ids in, hidden states out, to whoever takes them."""

# Tokens per batch, padding included, where nobody says: on processors enough to fill matrix
# products, few enough that what blocks hand on stays near; graphics cards want more at a time.
BATCH_TOKENS, BATCH_TOKENS_ON_CUDA = 2048, 16384
BATCH_TOKENS_HELP = (
    f"Tokens per batch, padding included; default {BATCH_TOKENS}, on CUDA {BATCH_TOKENS_ON_CUDA}."
)
