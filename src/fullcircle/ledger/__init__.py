"""The workspace: an append-only ledger of facts, content-addressed blobs, and what guards them."""
