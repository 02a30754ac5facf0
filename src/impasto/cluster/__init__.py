"""One picture over many machines: workers that compute tiles."""
