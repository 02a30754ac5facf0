"""One picture on many machines: workers that compute tiles."""
