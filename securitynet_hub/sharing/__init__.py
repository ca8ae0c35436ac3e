"""Results on the Hub: publish, fetch and validate them, rank them."""
