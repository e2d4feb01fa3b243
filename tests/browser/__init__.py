"""What pages in a real browser can do with a real node, and what they cannot (`make browser`)."""
