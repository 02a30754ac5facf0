"""What is done to a picture before and after painting: its colours, blends of two pictures, a look at the print."""
