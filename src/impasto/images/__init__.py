"""A picture: as a tensor, in a file, on a contact sheet, in an animation."""
