"""Units of a network as things to be seen: what a channel, a neuron, a direction or a class answers to."""
