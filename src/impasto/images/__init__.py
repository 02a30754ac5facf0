"""A picture: as a tensor, as a file, as a sheet, as a film."""
